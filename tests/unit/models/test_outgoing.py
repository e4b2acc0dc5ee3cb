"""What a learner sends to engines: adapters alone, or a plain model's weights."""

from dataclasses import replace

import pytest
import torch
from mixed_step import CONFIG, ROLLOUTS, SHAPE, TOKENIZER

from rl_distill.algorithms.sft import Sft
from rl_distill.errors import RunError
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.training_state import read_state
from rl_distill.models.digest import named_weights, weight_digests
from rl_distill.models.lora import Lora, adapter_weights, merged
from rl_distill.models.outgoing import OutgoingWeights
from rl_distill.rollout.engine import Request, Sampling, load_checked
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.rollout.weight_loading import copy_weights

LORA = Lora(rank=2, alpha=8)
FAST = replace(CONFIG, learning_rate=3e-2)


def learner(**options) -> LocalLearner:
    return LocalLearner(LORA.inject(SHAPE.build(TOKENIZER), 1), TOKENIZER, Sft(), FAST, **options)


def taught(**options) -> LocalLearner:
    made = learner(**options)
    for _ in range(3):
        made.step(ROLLOUTS)
    return made


def engine(model=None, dtype="float32") -> HfEngine:
    return HfEngine(model or SHAPE.build(TOKENIZER), TOKENIZER, HfEngineConfig(device="cpu", dtype=dtype), name="m")


def sampled(of: HfEngine) -> list[tuple[int, ...]]:
    asked = [
        Request(problem_id="p", messages=(), token_ids=(5, 6, 7), sampling=Sampling(max_tokens=12), seed=seed)
        for seed in range(6)
    ]
    return [attempt.token_ids for attempt in of.generate(asked)]


def test_training_moves_adapters_only():
    start, moved = SHAPE.build(TOKENIZER), taught().model
    base = {name: weight for name, weight in named_weights(moved).items() if name not in adapter_weights(moved)}
    assert all(torch.equal(base[name], weight) for name, weight in start.named_parameters())
    assert all(weight.abs().sum() > 0 for name, weight in adapter_weights(moved).items() if "lora_B" in name)


def test_adapters_travel_alone_with_the_digests_of_all_weights():
    update = taught().publish(3)
    own = adapter_weights(learner().model)
    assert update.tensors.keys() == own.keys()
    assert update.num_bytes == sum(weight.nbytes for weight in own.values())
    assert update.digests.keys() == own.keys() | dict(SHAPE.build(TOKENIZER).named_parameters()).keys()


def test_a_checkpoint_holds_adapters_only_and_gives_back_the_learner(tmp_path):
    before, after = taught(), learner()
    before.save(tmp_path)
    assert {name for name, _ in read_state(tmp_path, before.named)} == adapter_weights(before.model).keys()
    after.load(tmp_path)
    before.step(ROLLOUTS)
    after.step(ROLLOUTS)
    assert after.publish(4).digests == before.publish(4).digests


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_engine_with_adapters_samples_from_the_learners_weights(dtype):
    made = taught(publish_dtype=dtype)
    held = engine(dtype=str(dtype).removeprefix("torch."))
    before = sampled(held)
    load_checked(held, made.publish(3))
    assert sampled(held) != before
    (attempt,) = held.canaries(
        Request(problem_id="p", messages=(), token_ids=(5, 6, 7), sampling=Sampling(max_tokens=12), seed=0)
    )
    (column,) = made.logprobs([attempt])
    assert column == pytest.approx(attempt.behavior_logprobs, abs=1e-4 if dtype == torch.float32 else 0.1)


def test_adapters_beside_other_weights_than_the_learners_are_an_error_that_names_one():
    stale = SHAPE.build(TOKENIZER)
    with torch.no_grad():
        stale.model.layers[0].mlp.up_proj.weight += 0.01
    with pytest.raises(RunError, match="1 of .* tensors differ, such as 'model.layers.0.mlp.up_proj.weight'"):
        load_checked(engine(stale), taught().publish(3))


def test_merged_adapters_travel_as_a_plain_models_weights():
    made = taught(publish_merged=True)
    update = made.publish(3)
    assert update.lora is None and update.tensors.keys() == dict(SHAPE.build(TOKENIZER).named_parameters()).keys()
    whole = merged(made.model)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in update.tensors.items())
    held = engine()
    load_checked(held, update)  # a plain engine takes them
    by_adapters = engine()
    load_checked(by_adapters, taught().publish(3))
    assert sampled(held) == sampled(by_adapters)


def test_buckets_hold_what_all_at_once_holds():
    made = taught(publish_merged=True)
    pieces = list(made.weights(2048))
    assert len(pieces) > 2
    assert weight_digests({name: tensor for piece in pieces for name, tensor in piece.items()}) == made.publish(1).digests


def test_of_a_plain_model_all_weights_travel():
    model = SHAPE.build(TOKENIZER)
    outgoing = OutgoingWeights(model, torch.float32)
    copy_weights(SHAPE.build(TOKENIZER), outgoing.tensors(outgoing.sizes))
    assert outgoing.lora is None and not outgoing.frozen
