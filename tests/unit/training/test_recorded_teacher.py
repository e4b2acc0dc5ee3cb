"""Recorded distributions are those that a teacher in this process gives, or they are refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from rl_distill.algorithms import Kd
from rl_distill.batch import Candidates
from rl_distill.errors import InputError
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.scorer import ModelScorer, ScorerConfig
from rl_distill.models.loading import Architecture
from rl_distill.models.token_match import vocabulary_digest
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.problems.base import dialogue, teacher_trajectory
from rl_distill.rollout.collector import Prompter
from rl_distill.text import PromptFormat
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import TEACHER_TEMPERATURE, TEACHER_VOCABULARY, Group, Problem, Sample, Trajectory, Verdict

TOKENIZER = arithmetic_tokenizer()
SHAPE = Architecture(hidden_size=32, intermediate_size=64, num_layers=2, max_context=64, initializer_range=0.3)
PROBLEM = Problem(id="p", prompt="1 + 1 = ?", answer="2", source="test")
PROMPTER = Prompter(tokenizer=TOKENIZER, format=PromptFormat(), max_context=64)


def plain() -> Trajectory:
    """A teacher's answer as the student's tokens."""
    reply = dialogue(PROBLEM.prompt, "1 + 1 = 2 ; \\boxed{2}")
    attempt = teacher_trajectory(PROBLEM, reply, model="m", verdict=Verdict(status="correct", method="test"))
    group = Group(problem=PROBLEM, trajectories=(attempt,))
    return Tokenized([group], PROMPTER, field="stages.kd.source")[0].trajectories[0]


def scored(count: int, temperature: float = 1.0) -> Trajectory:
    """The same with the columns of a teacher in this process."""
    config = ScorerConfig(
        pad_id=0,
        temperature=1.0,
        max_tokens=1000,
        chunk_tokens=100,
        precision="float32",
        column="teacher_logprobs",
        candidates=Candidates(count=count, temperature=temperature),
        vocabulary=len(TOKENIZER),
    )
    return ModelScorer(replace(SHAPE, seed=1).build(TOKENIZER), config).annotate([plain()])[0]


def recorded(count: int, **metadata: Any) -> Trajectory:
    about = {TEACHER_TEMPERATURE: 1.0, TEACHER_VOCABULARY: vocabulary_digest(TOKENIZER), **metadata}
    return replace(scored(count), metadata=about)


def read(attempt: Trajectory, *, count: int, temperature: float = 1.0) -> Trajectory:
    """As a stage with this many candidates finds it."""
    group = Group(problem=PROBLEM, trajectories=(attempt,))
    wanted = Candidates(count=count, temperature=temperature)
    return Tokenized([group], PROMPTER, field="stages.kd.source", candidates=wanted)[0].trajectories[0]


@pytest.mark.parametrize("count", [1, 4, 9])
def test_of_many_recorded_candidates_the_likeliest_are_compared_and_the_others_are_in_the_rest(count):
    found, wanted = read(recorded(9), count=count), scored(count)
    assert found.candidate_ids == wanted.candidate_ids
    for one, other in zip(found.teacher_candidate_logprobs, wanted.teacher_candidate_logprobs, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_step_from_recorded_columns_is_the_step_beside_the_teacher(beta):
    def step(attempt: Trajectory) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        config = LearnerConfig(learning_rate=1e-2, schedule="constant", warmup_steps=0)
        learner = LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, Kd(beta=beta, num_candidates=4), config)
        metrics = learner.step([Sample(trajectory=attempt)]).metrics
        return dict(metrics), dict(learner.publish(1).tensors)

    (metrics, weights), (expected, beside) = step(read(recorded(9), count=4)), step(scored(4))
    assert metrics["gradient/norm"] > 0.1
    for path in ("loss", "gradient/norm", "distillation/divergence", "distillation/candidate_mass"):
        assert metrics[path] == pytest.approx(expected[path], rel=1e-4), path
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, beside[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("message", "attempt", "wanted"),
    [
        (r"stages.kd.source: .* 'p' has no recorded log-probs of a teacher; curate it", plain(), {"count": 4}),
        (
            r"stages.kd.source: .* another vocabulary \(abc\) .*; take a student with",
            recorded(4, **{TEACHER_VOCABULARY: "abc"}),
            {"count": 4},
        ),
        (
            r"stages.kd.algorithm.temperature: is 2, and .* recorded at 1.0; set it to 1.0",
            recorded(4),
            {"count": 4, "temperature": 2.0},
        ),
        (r"stages.kd.algorithm.temperature: is 1, .* recorded at 0.6", recorded(4, **{TEACHER_TEMPERATURE: 0.6}), {"count": 4}),
        (r"stages.kd.algorithm.num_candidates: is 64, and .* has 4 recorded; set it to 4", recorded(4), {"count": 64}),
    ],
)
def test_what_was_recorded_for_something_else_is_refused(message, attempt, wanted):
    with pytest.raises(InputError, match=message):
        read(attempt, **wanted)


def changed(attempt: Trajectory, column: str, entry: tuple) -> Trajectory:
    """With this at its last token."""
    return replace(attempt, **{column: (*getattr(attempt, column)[:-1], entry)})


@pytest.mark.parametrize(
    ("message", "attempt"),
    [
        ("add up to 2.7", changed(recorded(2), "teacher_candidate_logprobs", (-0.1, -0.1, -0.1))),
        ("add up to nan", changed(recorded(2), "teacher_candidate_logprobs", (float("nan"), -0.1, -0.1))),
        ("2 log-probs for 2 candidates and all other tokens", changed(recorded(2), "teacher_candidate_logprobs", (-0.7, -0.7))),
        (r"\[5000, 1\] are not distinct tokens of 48", changed(recorded(2), "candidate_ids", (5000, 1))),
        (r"\[1, 1\] are not distinct", changed(recorded(2), "candidate_ids", (1, 1))),
    ],
)
def test_what_is_no_distribution_is_refused_before_anything_is_trained(message, attempt):
    with pytest.raises(
        InputError, match=f"stages.kd.source: .* 'p' has log-probs of a teacher that are no distribution: .*{message}"
    ):
        read(attempt, count=2)


def test_a_temperature_that_nobody_wrote_down_is_asked_for():
    silent = replace(recorded(4), metadata={TEACHER_VOCABULARY: vocabulary_digest(TOKENIZER)})
    with pytest.raises(InputError, match="does not say at which temperature .* metadata as 'teacher_temperature'"):
        read(silent, count=4)


def test_vocabularies_are_told_apart_by_any_token():
    changed = arithmetic_tokenizer()
    changed.add_tokens(["<tool>"])
    assert vocabulary_digest(arithmetic_tokenizer()) == vocabulary_digest(TOKENIZER) != vocabulary_digest(changed)
