"""The local learner: steps, precision, checkpoints, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch

from rl_distill.algorithms.redi import Redi
from rl_distill.algorithms.sft import Sft
from rl_distill.errors import RunError
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.trajectory import Sample, Trajectory

TOKENIZER = arithmetic_tokenizer()
CONFIG = LearnerConfig(learning_rate=1e-2, schedule="constant", warmup_steps=0)


def model(seed: int = 0):
    return Architecture(
        seed=seed, hidden_size=16, intermediate_size=32, num_layers=2, max_context=32, initializer_range=0.1
    ).build(TOKENIZER)


def trajectory(seed: int, length: int = 5) -> Trajectory:
    ids = torch.randint(3, 48, (2 + length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return Trajectory(
        problem_id=str(seed),
        messages=(),
        token_ids=tuple(ids),
        sampled=(False,) * 2 + (True,) * length,
        model="m",
        origin="teacher",
    )


SAMPLES = [Sample(trajectory=trajectory(seed, 3 + seed)) for seed in range(5)]
PAIRS = [
    Sample(trajectory=trajectory(2 * unit + side, 4 + side), label=(1, -1)[side], unit=str(unit))
    for unit in range(3)
    for side in (0, 1)
]


def learner(config: LearnerConfig = CONFIG, algorithm=None, **options) -> LocalLearner:
    return LocalLearner(model(), TOKENIZER, algorithm or Sft(), config, **options)


def weights(of: LocalLearner) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in of.model.named_parameters()}


def test_steps_make_imitated_tokens_likelier():
    taught = learner()
    losses = [taught.step(SAMPLES).metrics["loss"] for _ in range(12)]
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("change", [{"micro_batch_tokens": 8}, {"gradient_checkpointing": True}, {"logprob_chunk_tokens": 3}])
def test_memory_settings_do_not_change_the_step(change):
    one, other = learner(), learner(replace(CONFIG, **change))
    first, second = one.step(SAMPLES).metrics, other.step(SAMPLES).metrics
    assert first["loss"] == pytest.approx(second["loss"], abs=1e-6)
    assert first["gradient/norm"] == pytest.approx(second["gradient/norm"], rel=1e-5)


def test_bfloat16_follows_float32_and_keeps_float32_weights():
    exact, rounded = learner(), learner(replace(CONFIG, precision="bfloat16"))
    for _ in range(5):
        exact_loss, rounded_loss = exact.step(SAMPLES).metrics["loss"], rounded.step(SAMPLES).metrics["loss"]
    assert rounded_loss == pytest.approx(exact_loss, rel=0.02)
    assert rounded_loss != exact_loss
    assert all(tensor.dtype == torch.float32 for tensor in weights(rounded).values())


@pytest.mark.parametrize("algorithm", [Sft(), Redi()])
def test_a_restored_learner_goes_on_to_the_bit(tmp_path, algorithm):
    config = replace(CONFIG, schedule="linear")
    samples = SAMPLES if isinstance(algorithm, Sft) else PAIRS
    whole, first, second = (learner(config, algorithm, total_steps=6) for _ in range(3))
    for _ in range(6):
        whole.step(samples)
    for _ in range(3):
        first.step(samples)
    first.save(tmp_path)
    second.load(tmp_path)
    assert second.steps_done == 3
    for _ in range(3):
        second.step(samples)
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(second).items())


def test_another_student_cannot_take_over_a_checkpoint(tmp_path):
    learner().save(tmp_path)
    bigger = Architecture(hidden_size=16, intermediate_size=32, num_layers=3, max_context=32).build(TOKENIZER)
    with pytest.raises(RunError, match="not this student's"):
        LocalLearner(bigger, TOKENIZER, Sft(), CONFIG).load(tmp_path)


def test_a_loss_that_is_not_finite_leaves_the_weights_alone():
    taught = learner()
    taught.step(SAMPLES)
    with torch.no_grad():
        taught.model.get_output_embeddings().weight[5] = float("inf")
    before = weights(taught)
    metrics = taught.step(SAMPLES).metrics
    assert math.isnan(metrics["loss"]) and metrics["learner/skipped"] == 1 and metrics["update/norm"] == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(taught).items())


def test_gradients_are_clipped_to_the_norm():
    """AdamW's first step has the size of the rate whatever the gradient, so look at what AdamW was given."""
    free, clipped = learner(replace(CONFIG, max_grad_norm=None)), learner(replace(CONFIG, max_grad_norm=1e-3))
    assert free.step(SAMPLES).metrics["gradient/norm"] == clipped.step(SAMPLES).metrics["gradient/norm"] > 1e-3
    first, second = (one.optimizer.state_dict()["state"][0]["exp_avg"].norm() for one in (free, clipped))
    assert second < 0.1 * first


def test_only_matrices_are_decayed():
    taught = learner(replace(CONFIG, weight_decay=0.5))
    decays = {id(p): group["weight_decay"] for group in taught.optimizer.param_groups for p in group["params"]}
    for parameter in taught.model.parameters():
        assert decays[id(parameter)] == (0.5 if parameter.ndim >= 2 else 0.0)


def test_a_published_update_is_what_the_learner_holds_and_says_so():
    taught = learner()
    update = taught.publish(4)
    assert update.version == 4
    assert all(torch.equal(update.tensors[name], tensor) for name, tensor in weights(taught).items())
    digests = update.digests
    taught.step(SAMPLES)
    assert taught.publish(5).digests != digests


def test_log_probs_are_those_of_the_loss_and_do_not_depend_on_the_batch():
    taught = learner(temperature=0.7)
    alone = [taught.logprobs([sample.trajectory], temperature=0.7)[0] for sample in SAMPLES]
    together = taught.logprobs([sample.trajectory for sample in SAMPLES], temperature=0.7)
    for one, other, sample in zip(alone, together, SAMPLES, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
        assert len(one) == len(sample.trajectory.token_ids) and one[:2] == (0.0, 0.0)
    total = sum(map(sum, together)) / sum(sample.trajectory.num_sampled for sample in SAMPLES)
    assert taught.step(SAMPLES).metrics["loss"] == pytest.approx(-total, abs=1e-5)


def test_a_decaying_schedule_without_length_is_refused_at_once():
    with pytest.raises(ValueError, match="needs to know the number of steps"):
        learner(replace(CONFIG, schedule="cosine"))


def test_the_update_norm_is_that_of_the_change_that_happened():
    taught = learner()
    before = weights(taught)
    metrics = taught.step(SAMPLES).metrics
    change = torch.cat([(tensor - before[name]).flatten() for name, tensor in weights(taught).items()])
    size = torch.cat([tensor.flatten() for tensor in before.values()])
    assert change.norm() > 0 and metrics["update/norm"] == pytest.approx(change.norm().item(), rel=1e-5)
    assert metrics["update/relative"] == pytest.approx((change.norm() / size.norm()).item(), rel=1e-5)


def test_what_rounding_swallows_is_no_part_of_the_update():
    """AdamW means to move every weight by the rate; most are too large to take it up."""
    meant = 1e-10 * sum(parameter.numel() for parameter in learner().trained) ** 0.5
    assert learner(replace(CONFIG, learning_rate=1e-10)).step(SAMPLES).metrics["update/norm"] < 0.3 * meant
