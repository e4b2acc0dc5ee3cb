"""Attempts to be rewarded."""

from collections.abc import Callable

import pytest

from rl_distill.trajectory import FinishReason, Message, Problem, Trajectory

Attempt = tuple[Problem, Trajectory]


@pytest.fixture
def attempt() -> Callable[..., Attempt]:
    def build(response: str, answer: str | None = "4", finish_reason: FinishReason = "stop", **metadata: object) -> Attempt:
        problem = Problem(id="p", prompt="What is 2 + 2?", answer=answer, source="test", metadata=metadata)
        trajectory = Trajectory(
            problem_id="p",
            messages=(Message("user", problem.prompt), Message("assistant", response)),
            token_ids=(1, 2, 3, 4),
            sampled=(False, False, True, True),
            model="m",
            origin="policy",
            finish_reason=finish_reason,
        )
        return problem, trajectory

    return build
