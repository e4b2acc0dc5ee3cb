"""The reference is the policy's own past: computed alike, it gives the same numbers."""

from dataclasses import replace

import pytest
import torch

from rl_distill.algorithms.dpo import Dpo
from rl_distill.errors import RunError
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.scorer import ModelScorer, ScorerConfig, annotate_groups
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import load_checked
from rl_distill.trajectory import Group, Problem, Sample, Trajectory

TOKENIZER = arithmetic_tokenizer()
SHAPE = Architecture(hidden_size=32, intermediate_size=64, num_layers=2, max_context=64, initializer_range=0.3)


def trajectory(seed: int, length: int) -> Trajectory:
    ids = torch.randint(3, 48, (2 + length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return Trajectory(
        problem_id="p", messages=(), token_ids=tuple(ids), sampled=(False,) * 2 + (True,) * length, model="m", origin="teacher"
    )


def scorer(precision: str, seed: int = 0) -> ModelScorer:
    model = replace(SHAPE, seed=seed).build(TOKENIZER)
    return ModelScorer(model, ScorerConfig(pad_id=0, temperature=1.0, max_tokens=1000, chunk_tokens=100, precision=precision))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_at_its_first_step_dpo_sees_no_gap_between_policy_and_reference(precision):
    config = LearnerConfig(learning_rate=1e-4, schedule="constant", warmup_steps=0, precision=precision)
    learner = LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, Dpo(beta=1.0), config)
    scored = scorer(precision).annotate([trajectory(1, 20), trajectory(2, 20)])
    samples = [Sample(trajectory=one, label=label, unit="u") for one, label in zip(scored, (1, -1), strict=True)]
    assert learner.step(samples).metrics["loss"] == pytest.approx(0.6931472, abs=1e-4)  # log 2: both gains are 0


def test_another_precision_would_show():
    exact, rounded = (
        scorer(precision).annotate([trajectory(1, 20)])[0].reference_logprobs for precision in ("float32", "bfloat16")
    )
    assert max(abs(one - other) for one, other in zip(exact, rounded, strict=True)) > 1e-3


def test_groups_keep_their_attempts_in_order():
    problem = Problem(id="p", prompt="", answer=None, source="test")
    groups = [Group(problem=problem, trajectories=(trajectory(1, 5), trajectory(2, 9))), Group(problem=problem)]
    annotated = annotate_groups(scorer("float32"), [*groups, groups[0]])
    flat = scorer("float32").annotate([trajectory(1, 5), trajectory(2, 9)])
    assert [len(group.trajectories) for group in annotated] == [2, 0, 2]
    for group in (annotated[0], annotated[2]):
        for one, other in zip(group.trajectories, flat, strict=True):
            assert one.reference_logprobs == pytest.approx(other.reference_logprobs, abs=1e-5)


def test_weights_that_did_not_arrive_are_an_error():
    class Deaf:
        """An engine that takes nothing over, as one whose reload silently fails."""

        version = 0

        def generate(self, requests):
            return []

        def load_weights(self, update):
            return {"a": "what it held before"}

    update = WeightUpdate(version=3, tensors={}, digests={"a": "new"}, num_bytes=0)
    with pytest.raises(RunError, match="other weights than the learner published as version 3: 1 of 1 tensors differ"):
        load_checked(Deaf(), update)
