"""A learner of several ranks is the learner of one process: every ZeRO stage, every algorithm, real DeepSpeed over gloo."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import ray_processes
import torch
from graded_groups import samples_of

from rl_distill.algorithms import ALGORITHMS
from rl_distill.cluster.host import LearnerSpec
from rl_distill.cluster.learner_fleet import LearnerFleet
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.loss_term import LossTerm
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer

TOKENIZER = arithmetic_tokenizer()
SHAPE = Architecture(  # sizes that no number of ranks divides
    hidden_size=18, intermediate_size=31, num_layers=2, num_heads=3, num_key_value_heads=1, max_context=64, initializer_range=0.2
)
CONFIG = LearnerConfig(
    learning_rate=1e-3, schedule="linear", warmup_steps=1, max_grad_norm=0.5, micro_batch_tokens=24, weight_decay=0.1
)
# In gkd's step some weights have a gradient that is all rounding; AdamW's usual eps would blow it up to a whole step, as it does
# in one process with other micro-batches.
WITHOUT_ROUNDING = {"gkd": replace(CONFIG, eps=1e-6)}
STEPS = 3
LAYOUTS = [(1, 0), (2, 0), (2, 1), (2, 2), (2, 3), (1, 1), (1, 2), (1, 3)]


@pytest.fixture(scope="module", autouse=True)
def session():
    with ray_processes.session():
        yield


@pytest.fixture(scope="module")
def processes(session):
    """Of one rank and of two."""
    with ray_processes.ranks(1) as one, ray_processes.ranks(2) as two:
        yield {1: one, 2: two}


def spec(*terms: LossTerm, config: LearnerConfig | None = None, dtype=torch.float32) -> LearnerSpec:
    return LearnerSpec(
        make_model=partial(SHAPE.build, TOKENIZER),
        tokenizer=TOKENIZER,
        terms=terms,
        config=config or WITHOUT_ROUNDING.get(terms[0].algorithm.name, CONFIG),
        total_steps=2 * STEPS,
        publish_dtype=dtype,
    )


def in_one_process(given: LearnerSpec) -> LocalLearner:
    main, *beside = given.terms
    return LocalLearner(given.make_model(), TOKENIZER, main.algorithm, given.config, beside=beside, total_steps=given.total_steps)


@pytest.fixture
def fleet(processes):
    """Builds a learner of so many ranks; closed at the end of the test."""
    opened = []

    def build(given: LearnerSpec, count: int, stage: int, bucket_mib: int = 256) -> LearnerFleet:
        found = processes[count]
        found.settings = ray_processes.cluster(ranks=count, zero_stage=stage, bucket_mib=bucket_mib)
        opened.append(LearnerFleet(given, found))
        return opened[-1]

    yield build
    for learner in opened:
        learner.close()


def weights(learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.publish(1).tensors.items()}


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize(("count", "stage"), LAYOUTS)
def test_every_algorithm_learns_the_same_on_any_number_of_ranks_and_any_zero_stage(name, count, stage, fleet):
    algorithm = ALGORITHMS[name]()
    samples, given = samples_of(algorithm), spec(LossTerm(algorithm=algorithm))
    alone, together = in_one_process(given), fleet(given, count, stage)
    start = weights(alone)
    for _ in range(STEPS):
        expected, found = alone.step(samples).metrics, together.step(samples).metrics
        layout = {"learner/micro_batches", "learner/padding_fraction"}
        assert found.keys() == expected.keys()
        for path in expected.keys() - (layout if count > 1 else set()):
            assert found[path] == pytest.approx(expected[path], rel=1e-5, abs=1e-5), path
    assert furthest(weights(alone), start) > 1e-4, "the steps must have changed something"
    difference = furthest(weights(alone), weights(together))
    assert difference == 0 if (count, stage) == (1, 0) else difference < 1e-5


MIXED = [LossTerm(algorithm=ALGORITHMS["grpo"]()), LossTerm(source="teacher", algorithm=ALGORITHMS["redi"](), weight=0.3)]
MIXED_SAMPLES = samples_of(MIXED[0].algorithm) + [
    replace(sample, unit=f"teacher/{sample.unit}") for sample in samples_of(MIXED[1].algorithm, "teacher")[:2]
]


@pytest.mark.parametrize(("count", "stage"), [(1, 0), (2, 0), (2, 3)])
def test_a_step_of_two_sources_one_with_fewer_units_than_ranks(count, stage, fleet):
    given = spec(*MIXED)
    alone, together = in_one_process(given), fleet(given, count, stage)
    for _ in range(STEPS):
        expected, found = alone.step(MIXED_SAMPLES).metrics, together.step(MIXED_SAMPLES).metrics
        assert found["loss"] == pytest.approx(expected["loss"], abs=1e-5)
        assert found["beside/teacher/loss"] == pytest.approx(expected["beside/teacher/loss"], abs=1e-5)
    assert furthest(weights(alone), weights(together)) < 1e-5


@pytest.mark.parametrize(("count", "stage"), LAYOUTS)
def test_a_step_with_flat_groups_which_are_run_without_a_backward_pass(count, stage, fleet):
    algorithm = ALGORITHMS["dr_grpo"]()
    moving = samples_of(algorithm)
    flat = [replace(sample, advantage=0.0) for sample in moving]
    alone, together = (
        in_one_process(spec(LossTerm(algorithm=algorithm))),
        fleet(spec(LossTerm(algorithm=algorithm)), count, stage),
    )
    for samples in ([*flat, *moving[:2]], flat, [*moving, *flat[:1]]):
        expected, found = alone.step(samples).metrics, together.step(samples).metrics
        for path in expected.keys() - {"learner/micro_batches", "learner/padding_fraction"}:
            assert found[path] == pytest.approx(expected[path], rel=1e-5, abs=1e-5), path
    assert furthest(weights(alone), weights(together)) < 1e-5


@pytest.mark.parametrize(("count", "stage"), [(1, 0), (2, 0), (2, 1), (2, 2), (2, 3)])
def test_a_loss_that_is_not_finite_skips_the_step_although_it_was_run_without_a_backward_pass(count, stage, fleet):
    def at(sample, logprob: float):
        length = len(sample.trajectory.token_ids)
        return replace(sample, trajectory=replace(sample.trajectory, proximal_logprobs=(logprob,) * length))

    algorithm = ALGORITHMS["dr_grpo"]()
    moving = samples_of(algorithm)
    learner = fleet(spec(LossTerm(algorithm=algorithm)), count, stage)
    start = weights(learner)
    overflown = replace(at(moving[0], -1e5), advantage=0.0)
    assert learner.step([*(at(sample, -1.0) for sample in moving), overflown]).metrics["learner/skipped"] == 1
    assert furthest(weights(learner), start) == 0


@pytest.mark.parametrize(("count", "stage"), [(2, 0), (2, 1), (2, 2), (2, 3)])
def test_a_checkpoint_of_any_layout_goes_on_in_any_other(count, stage, fleet, tmp_path: Path):
    algorithm = ALGORITHMS["redi"]()
    samples, given = samples_of(algorithm), spec(LossTerm(algorithm=algorithm))
    alone = in_one_process(given)
    for step in range(2 * STEPS):
        if step == STEPS:
            (tmp_path / "alone").mkdir()
            alone.save(tmp_path / "alone")
        alone.step(samples)
    together = fleet(given, count, stage)
    together.load(tmp_path / "alone")
    (tmp_path / "together").mkdir()
    together.save(tmp_path / "together")
    for _ in range(STEPS):
        together.step(samples)
    assert together.steps_done == 2 * STEPS
    assert furthest(weights(alone), weights(together)) < 1e-5
    again = in_one_process(given)
    again.load(tmp_path / "together")
    for _ in range(STEPS):
        again.step(samples)
    assert furthest(weights(alone), weights(again)) == 0, "what was loaded and saved again must be what was saved"


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_step_that_is_not_finite_on_one_rank_is_skipped_by_all(stage, value, fleet):
    algorithm = ALGORITHMS["grpo"](kl_coef=0)
    samples, together = samples_of(algorithm), fleet(spec(LossTerm(algorithm=algorithm)), 2, stage)
    together.step(samples)
    before = weights(together)
    broken = [replace(samples[0], advantage=value), *samples[1:]]
    assert together.step(broken).metrics["learner/skipped"] == 1.0
    assert furthest(before, weights(together)) == 0
    found = together.step(samples).metrics
    assert found["learner/skipped"] == 0.0 and found["update/norm"] > 0
    assert furthest(before, weights(together)) > 0


@pytest.mark.parametrize(("count", "stage"), [(1, 0), (2, 3)])
def test_log_probs_and_the_exported_student_are_those_of_one_process(count, stage, fleet, tmp_path: Path):
    from transformers import AutoModelForCausalLM

    algorithm = ALGORITHMS["sft"]()
    samples, given = samples_of(algorithm), spec(LossTerm(algorithm=algorithm))
    alone, together = in_one_process(given), fleet(given, count, stage)
    for learner in (alone, together):
        learner.step(samples)
    trajectories = [sample.trajectory for sample in samples]
    for one, other in zip(alone.logprobs(trajectories), together.logprobs(trajectories), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    together.export(tmp_path)
    loaded = dict(AutoModelForCausalLM.from_pretrained(tmp_path).named_parameters())
    assert furthest(weights(together), {name: tensor.detach() for name, tensor in loaded.items()}) == 0


@pytest.mark.parametrize(("count", "stage"), [(1, 0), (2, 3)])
def test_weights_travel_in_buckets_and_in_the_dtype_of_the_engine(count, stage, fleet):
    given = spec(LossTerm(algorithm=ALGORITHMS["sft"]()), dtype=torch.bfloat16)
    update = fleet(given, count, stage, bucket_mib=1).publish(4)
    expected = in_one_process(given).publish(4)
    assert update.version == 4 and update.num_bytes == sum(tensor.nbytes for tensor in update.tensors.values())
    assert update.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert update.tensors[name].dtype == torch.bfloat16
        assert torch.equal(update.tensors[name], tensor.bfloat16())
