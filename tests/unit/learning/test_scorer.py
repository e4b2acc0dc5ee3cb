"""The reference is the policy's own past: computed alike, it gives the same numbers."""

import math
from dataclasses import replace

import pytest
import torch

from rl_distill.algorithms.dpo import Dpo
from rl_distill.algorithms.kd import Kd
from rl_distill.batch import Candidates
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


def teacher(candidates: Candidates | None, max_tokens: int = 1000) -> ModelScorer:
    config = ScorerConfig(
        pad_id=0,
        temperature=0.7,
        max_tokens=max_tokens,
        chunk_tokens=7,
        precision="float32",
        column="teacher_logprobs",
        candidates=candidates,
        vocabulary=48,
    )
    return ModelScorer(replace(SHAPE, seed=1).build(TOKENIZER), config)


ATTEMPTS = [trajectory(seed, length) for seed, length in ((1, 5), (2, 9), (3, 2))]


def test_a_teacher_without_candidates_gives_its_log_probs_of_the_sampled_tokens_alone():
    for one in teacher(None).annotate(ATTEMPTS):
        assert one.teacher_logprobs is not None and max(one.teacher_logprobs) == 0.0 > min(one.teacher_logprobs)
        assert one.candidate_ids is one.teacher_candidate_logprobs is one.reference_logprobs is None


def test_a_teachers_columns_have_an_entry_for_every_sampled_token():
    for one in teacher(Candidates(count=4)).annotate(ATTEMPTS):
        assert one.teacher_logprobs is None
        for mine, ids, logprobs in zip(one.sampled, one.candidate_ids, one.teacher_candidate_logprobs, strict=True):
            assert (len(ids), len(logprobs)) == ((4, 5) if mine else (0, 0))
            assert len(set(ids)) == len(ids) and list(logprobs[:4]) == sorted(logprobs[:4], reverse=True)
            assert not mine or sum(map(math.exp, logprobs)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("candidates", [Candidates(count=4, temperature=2.0), Candidates(count=6, drawn=True)])
def test_a_teachers_candidates_do_not_depend_on_the_attempts_beside(candidates):
    """Draws have an address of their own, so that every worker and every epoch finds the same."""
    together, again = teacher(candidates).annotate(ATTEMPTS), teacher(candidates, max_tokens=1).annotate(ATTEMPTS[::-1])[::-1]
    for one, other in zip(together, again, strict=True):
        assert one.candidate_ids == other.candidate_ids
        for row, found in zip(one.teacher_candidate_logprobs, other.teacher_candidate_logprobs, strict=True):
            assert row == pytest.approx(found, abs=1e-5)


def test_draws_of_two_attempts_differ():
    drawn = teacher(Candidates(count=6, drawn=True))
    one, other = drawn.annotate([ATTEMPTS[0], replace(ATTEMPTS[0], problem_id="q")])
    assert one.candidate_ids != other.candidate_ids


@pytest.mark.parametrize("algorithm", [Kd(), Kd(beta=0.5, num_candidates=4), Kd(beta=1.0, num_candidates=4, temperature=2.0)])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(algorithm):
    """The same weights give the same distributions, in the learner as in the scorer."""
    config = LearnerConfig(learning_rate=1e-4, schedule="constant", warmup_steps=0)
    learner = LocalLearner(replace(SHAPE, seed=1).build(TOKENIZER), TOKENIZER, algorithm, config)
    scored = teacher(algorithm.candidates).annotate(ATTEMPTS)
    metrics = learner.step([Sample(trajectory=one) for one in scored]).metrics
    assert metrics["loss"] == pytest.approx(0, abs=1e-6)
    assert metrics["gradient/norm"] == pytest.approx(0, abs=1e-4)
