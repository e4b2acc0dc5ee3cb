from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rl_distill.errors import InputError, RunError
from rl_distill.models.digest import named_weights, weight_digests
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import Request, Sampling
from rl_distill.rollout.hf_engine import HfEngine
from rl_distill.rollout.token_choice import stream_keys, uniforms
from rl_distill.text import end_of_turn_ids
from rl_distill.trajectory import Message, Trajectory

Build = Callable[..., HfEngine]
Requests = Callable[..., list[Request]]


def responses(trajectory: Trajectory) -> tuple[int, ...]:
    return tuple(token for token, sampled in zip(trajectory.token_ids, trajectory.sampled, strict=True) if sampled)


def logprobs(trajectory: Trajectory) -> list[float]:
    assert trajectory.behavior_logprobs is not None
    return [value for value, sampled in zip(trajectory.behavior_logprobs, trajectory.sampled, strict=True) if sampled]


def assert_same_up_to_rounding(ours: Sequence[Trajectory], theirs: Sequence[Trajectory]) -> None:
    assert [responses(one) for one in ours] == [responses(other) for other in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert logprobs(one) == pytest.approx(logprobs(other), abs=1e-5)


def naive(model: Any, request: Request, stop_ids: Sequence[int]) -> tuple[list[int], list[float], str]:
    """One request alone, the whole sequence through the model for every token, the distribution written out."""
    tokens, chosen = list(request.token_ids), []
    temperature, top_p = request.sampling.temperature, request.sampling.top_p
    for position in range(request.sampling.max_tokens):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens])).logits[0, -1].double().numpy()
        probs = np.exp((logits - logits.max()) / (temperature or 1.0))
        probs /= probs.sum()
        if temperature == 0:
            probs = (np.arange(len(probs)) == probs.argmax()).astype(float)
        order = np.argsort(-probs, kind="stable")
        in_front = np.cumsum(probs[order]) - probs[order]
        probs[order[in_front >= top_p]] = 0
        probs /= probs.sum()
        draw = uniforms(stream_keys([request.seed]), np.array([position]))[0]
        token = int(np.flatnonzero(np.cumsum(probs) > draw)[0])
        tokens.append(token)
        chosen.append(float(np.log(probs[token])))
        if token in stop_ids:
            return tokens[len(request.token_ids) :], chosen, "stop"
    return tokens[len(request.token_ids) :], chosen, "length"


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.6}, {"top_p": 0.7}, {"temperature": 0.0}], ids=str)
@pytest.mark.parametrize("name", ["qwen", "llama"])
def test_it_samples_what_a_naive_loop_samples(
    name: str, settings: dict[str, float], engine: Build, uneven_requests: Requests, tokenizer: Any, request: Any
) -> None:
    model = request.getfixturevalue(name)
    asked = uneven_requests(14, **settings)
    sampled = engine(model, max_concurrent=4, prefill_tokens=16).generate(asked)
    reasons = set()
    for one, trajectory in zip(asked, sampled, strict=True):
        tokens, chosen, reason = naive(model, one, end_of_turn_ids(tokenizer))
        assert responses(trajectory) == tuple(tokens)
        assert logprobs(trajectory) == pytest.approx(chosen, abs=1e-5)
        assert trajectory.finish_reason == reason
        reasons.add(reason)
    assert "length" in reasons and (settings.get("temperature") == 0.0 or "stop" in reasons)


def test_behavior_log_probs_are_those_of_a_forward_pass_at_the_sampling_temperature(
    engine: Build, qwen: Any, uneven_requests: Requests
) -> None:
    for trajectory in engine(qwen, max_concurrent=5).generate(uneven_requests(24, temperature=0.8)):
        row = torch.tensor([trajectory.token_ids])
        with torch.no_grad():
            expected = torch.log_softmax(qwen(input_ids=row).logits[0, :-1] / 0.8, -1).gather(1, row[0, 1:, None])[:, 0]
        assert logprobs(trajectory) == pytest.approx(expected[torch.tensor(trajectory.sampled[1:])].tolist(), abs=1e-5)


def test_a_trajectory_carries_the_request_the_response_and_its_origin(engine: Build, qwen: Any, tokenizer: Any) -> None:
    asked = Request(
        problem_id="p", messages=(Message("user", "1 + 2 = ?"),), token_ids=(5, 6, 7), sampling=Sampling(max_tokens=9), seed=3
    )
    (made,) = engine(qwen).generate([asked])
    count = len(made.token_ids) - 3
    assert 1 <= count <= 9
    assert made.problem_id == "p" and made.seed == 3 and made.model == "policy" and made.origin == "policy"
    assert made.token_ids[:3] == (5, 6, 7)
    assert made.sampled == (False,) * 3 + (True,) * count
    assert made.policy_versions == (0,) * 3 + (7,) * count
    assert made.behavior_logprobs is not None and made.behavior_logprobs[:3] == (0.0,) * 3
    text = tokenizer.decode(list(made.token_ids[3:]), skip_special_tokens=True)
    assert made.messages == (Message("user", "1 + 2 = ?"), Message("assistant", text))
    assert {type(value) for value in (*made.token_ids, *made.policy_versions)} == {int}
    assert {type(value) for value in made.behavior_logprobs} == {float}


def test_a_shard_gives_the_same_bits_again_and_among_other_shards(engine: Build, qwen: Any, uneven_requests: Requests) -> None:
    asked = uneven_requests(30)
    sampler = engine(qwen, max_concurrent=4, shard_size=10)
    whole = sampler.generate(asked)
    assert whole == sampler.generate(asked)
    assert whole == [
        made
        for start in (0, 10, 20)
        for made in engine(qwen, max_concurrent=4, shard_size=10).generate(asked[start : start + 10])
    ]
    assert whole[10:20] == sampler.generate(asked[10:20])


def test_the_order_of_requests_within_a_shard_changes_no_bit(engine: Build, qwen: Any, uneven_requests: Requests) -> None:
    asked = uneven_requests(30)
    sampler = engine(qwen, max_concurrent=4)
    order = np.random.default_rng(0).permutation(30)
    permuted = sampler.generate([asked[index] for index in order])
    made = sampler.generate(asked)
    assert permuted == [made[index] for index in order]


@pytest.mark.parametrize(
    "settings", [{"max_concurrent": 2}, {"max_concurrent": 7, "shard_size": 13}, {"prefill_tokens": 1}], ids=str
)
def test_tokens_do_not_depend_on_how_many_are_decoded_together(
    settings: dict[str, int], engine: Build, qwen: Any, uneven_requests: Requests
) -> None:
    asked = uneven_requests(40)
    assert_same_up_to_rounding(engine(qwen, **settings).generate(asked), engine(qwen).generate(asked))


def test_tokens_do_not_depend_on_the_neighbors(engine: Build, llama: Any, uneven_requests: Requests) -> None:
    asked = uneven_requests(40)
    sampler = engine(llama, max_concurrent=8)
    together = sampler.generate(asked)
    assert_same_up_to_rounding([*sampler.generate(asked[::2]), *sampler.generate(asked[1::2])], [*together[::2], *together[1::2]])
    assert_same_up_to_rounding([sampler.generate([one])[0] for one in asked[:10]], together[:10])


def test_requests_that_differ_in_their_seed_alone_get_different_responses(engine: Build, qwen: Any) -> None:
    base = Request(problem_id="p", messages=(), token_ids=(5, 6, 7), sampling=Sampling(max_tokens=12), seed=0)
    made = engine(qwen).generate([replace(base, seed=seed) for seed in range(16)])
    assert len({responses(one) for one in made}) == 16


def test_a_response_ends_with_an_end_of_turn_or_a_stop_token_of_its_request(engine: Build, qwen: Any, tokenizer: Any) -> None:
    ends = end_of_turn_ids(tokenizer)
    plain, stopping = Sampling(max_tokens=60), Sampling(max_tokens=60, stop_tokens=("7", "</think>", "+"))
    own = {plain: set(ends), stopping: {*ends, *tokenizer.convert_tokens_to_ids(["7", "</think>", "+"])}}
    asked = [
        Request(problem_id="p", messages=(), token_ids=(5, 6), sampling=(plain, stopping)[seed % 2], seed=seed)
        for seed in range(40)
    ]
    seen = set()
    for one, made in zip(asked, engine(qwen, max_concurrent=8).generate(asked), strict=True):
        tokens = responses(made)
        assert not set(tokens[:-1]) & own[one.sampling]
        assert made.finish_reason == ("stop" if tokens[-1] in own[one.sampling] else "length")
        assert made.finish_reason == "stop" or len(tokens) == 60
        seen.add(tokens[-1])
    assert seen >= own[stopping]


def watched(model: Any, shapes: list[tuple[int, int]]) -> Any:
    """Note the shape of every forward pass from now on."""

    def note(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        shapes.append(tuple(kwargs["input_ids"].shape))

    return model.register_forward_pre_hook(note, with_kwargs=True)


def test_no_forward_pass_has_one_row_or_more_than_allowed(engine: Build, qwen: Any, uneven_requests: Requests) -> None:
    sampler = engine(qwen, max_concurrent=6, prefill_tokens=20)
    shapes: list[tuple[int, int]] = []
    with watched(sampler._model, shapes):
        sampler.generate(uneven_requests(30))
        sampler.generate(uneven_requests(30)[:1])
        sampler.generate(uneven_requests(30)[3:4])
    assert {rows for rows, _ in shapes} == {2, 3, 4, 5, 6}


def test_a_prompt_shared_by_a_group_is_prefilled_once(engine: Build, qwen: Any) -> None:
    prompts = [tuple(range(3, 3 + length)) for length in (9, 12, 5)]
    asked = [
        Request(problem_id=str(index), messages=(), token_ids=prompts[index % 3], sampling=Sampling(max_tokens=4), seed=index)
        for index in range(24)
    ]
    sampler = engine(qwen)
    shapes: list[tuple[int, int]] = []
    with watched(sampler._model, shapes):
        sampler.generate(asked)
    assert [shape for shape in shapes if shape[1] > 1] == [(3, 11)]


def test_finished_sequences_make_room_for_waiting_ones(engine: Build, qwen: Any) -> None:
    limits = [60] + [2] * 40
    asked = [
        Request(problem_id=str(index), messages=(), token_ids=(5, 6, 8), sampling=Sampling(max_tokens=limit), seed=index)
        for index, limit in enumerate(limits)
    ]
    sampler = engine(qwen, max_concurrent=5)
    sampler._end_of_turn = ()
    shapes: list[tuple[int, int]] = []
    with watched(sampler._model, shapes):
        made = sampler.generate(asked)
    assert [one.num_sampled for one in made] == limits
    steps = [rows for rows, length in shapes if length == 1]
    assert len(steps) == 60  # the short ones pass beside the long one, which then goes on with a single companion
    assert steps[:20] == [5] * 20 and steps[-35:] == [2] * 35


def test_different_settings_in_one_call_give_what_each_gives_alone(engine: Build, qwen: Any, uneven_requests: Requests) -> None:
    kinds = [{}, {"temperature": 0.0}, {"top_p": 0.6}, {"temperature": 1.4, "top_p": 0.9}]
    asked = [uneven_requests(24, **kinds[index % 4])[index] for index in range(24)]
    sampler = engine(qwen, max_concurrent=6)
    mixed = sampler.generate(asked)
    for kind in range(4):
        assert_same_up_to_rounding(sampler.generate(asked[kind::4]), mixed[kind::4])


def test_no_requests_no_trajectories(engine: Build, qwen: Any) -> None:
    assert engine(qwen).generate([]) == []


def test_a_prompt_that_leaves_no_room_in_the_context_is_refused_by_name(engine: Build, qwen: Any) -> None:
    fits = Request(problem_id="long-17", messages=(), token_ids=(5,) * 200, sampling=Sampling(max_tokens=56), seed=0)
    assert len(engine(qwen).generate([fits])) == 1
    with pytest.raises(InputError, match=r"max_tokens: problem 'long-17': 200 prompt tokens \+ 57 .* 256; set .* to 56"):
        engine(qwen).generate([fits, replace(fits, sampling=Sampling(max_tokens=57))])


@pytest.mark.parametrize(
    ("prompt", "message"), [((), "'p' is empty"), ((3, 48), "outside the model's vocabulary"), ((-1,), "outside")]
)
def test_a_prompt_without_valid_tokens_is_refused(prompt: tuple[int, ...], message: str, engine: Build, qwen: Any) -> None:
    with pytest.raises(ValueError, match=message):
        engine(qwen).generate([Request(problem_id="p", messages=(), token_ids=prompt, sampling=Sampling(max_tokens=4), seed=0)])


@pytest.mark.parametrize("text", ["elephant", "1 + 2", ""])
def test_a_stop_token_must_be_one_token(text: str, engine: Build, qwen: Any) -> None:
    sampling = Sampling(max_tokens=4, stop_tokens=(text,))
    with pytest.raises(InputError, match="sampling.stop_tokens"):
        engine(qwen).generate([Request(problem_id="p", messages=(), token_ids=(5,), sampling=sampling, seed=0)])


def test_it_shares_no_memory_with_the_model_it_was_made_from(engine: Build, llama: Any, uneven_requests: Requests) -> None:
    sampler = engine(llama)
    before = sampler.generate(uneven_requests(6))
    backup = {name: tensor.clone() for name, tensor in named_weights(llama).items()}
    try:
        with torch.no_grad():
            for parameter in llama.parameters():
                parameter.add_(1.0)
        assert sampler.generate(uneven_requests(6)) == before
    finally:
        with torch.no_grad():
            for name, parameter in llama.named_parameters():
                parameter.copy_(backup[name])
    assert all(parameter.requires_grad for parameter in llama.parameters())


def moved(model: Any, shift: float = 0.05) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    return {
        name: tensor + shift * torch.randn(tensor.shape, generator=generator) for name, tensor in named_weights(model).items()
    }


@pytest.mark.parametrize("name", ["qwen", "llama"])
def test_loaded_weights_are_what_it_samples_from(name: str, engine: Build, uneven_requests: Requests, request: Any) -> None:
    model = request.getfixturevalue(name)
    sampler, tensors = engine(model), moved(model)
    old = sampler.generate(uneven_requests(12))
    digest = sampler.load_weights(WeightUpdate(version=8, tensors=tensors, digests=weight_digests(tensors), num_bytes=0))
    assert digest == weight_digests(tensors) != weight_digests(named_weights(model))
    for tensor in tensors.values():
        tensor.zero_()  # an update is valid until the learner's next step only
    made = sampler.generate(uneven_requests(12))
    assert [responses(one) for one in made] != [responses(one) for one in old]
    assert {version for one in made for version, own in zip(one.policy_versions or (), one.sampled, strict=True) if own} == {8}
    fresh = engine(model)
    fresh.load_weights(WeightUpdate(version=8, tensors=moved(model), digests={}, num_bytes=0))
    assert fresh.generate(uneven_requests(12)) == made
    sampler.load_weights(WeightUpdate(version=3, tensors=named_weights(model), digests={}, num_bytes=0))
    assert sampler.version == 3
    assert_same_up_to_rounding(sampler.generate(uneven_requests(12)), old)


def test_weights_that_are_not_finite_end_the_run_instead_of_sampling(engine: Build, qwen: Any, uneven_requests: Requests) -> None:
    sampler = engine(qwen)
    tensors = {name: torch.full_like(tensor, torch.nan) for name, tensor in named_weights(qwen).items()}
    sampler.load_weights(WeightUpdate(version=1, tensors=tensors, digests={}, num_bytes=0))
    with pytest.raises(RunError, match="not finite"):
        sampler.generate(uneven_requests(6))


def test_a_device_that_does_not_exist_is_refused(engine: Build, qwen: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="engine.device"):
        engine(qwen, device="cuda")


def test_a_bfloat16_policy_reports_float32_log_probs_of_its_own_logits(
    engine: Build, qwen: Any, uneven_requests: Requests
) -> None:
    half = type(qwen)(qwen.config).to(torch.bfloat16).eval()
    half.load_state_dict(qwen.state_dict())
    for made in engine(half).generate(uneven_requests(9)):
        row = torch.tensor([made.token_ids])
        with torch.no_grad():
            plain = torch.log_softmax(half(input_ids=row).logits[0, :-1].float(), -1).gather(1, row[0, 1:, None])[:, 0]
        expected = plain[torch.tensor(made.sampled[1:])].tolist()
        assert logprobs(made) == pytest.approx(expected, abs=0.3)
