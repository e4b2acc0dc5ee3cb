"""Groups and attempts in a line."""

from collections.abc import Callable
from typing import Any

import pytest

from rl_distill.problems.base import dialogue
from rl_distill.trajectory import Group, Problem, Score, Trajectory, Verdict


@pytest.fixture
def problem() -> Callable[..., Problem]:
    """`problem("How many?", "3", id="a", source="s")`."""

    def make(prompt: str, answer: str | None = None, *, id: str = "p", source: str = "s") -> Problem:
        return Problem(id=id, prompt=prompt, answer=answer, source=source)

    return make


@pytest.fixture
def attempt() -> Callable[..., Trajectory]:
    """`attempt("correct", "text")`; status None is an attempt that nobody has judged."""

    def make(status: Any, response: str = "text", *, finish: Any = "stop") -> Trajectory:
        score = None if status is None else Score(value=None, verdict=Verdict(status=status, method="test"))
        return Trajectory(
            problem_id="p", messages=dialogue("?", response), model="m", origin="teacher", finish_reason=finish, score=score
        )

    return make


@pytest.fixture
def group() -> Callable[..., Group]:
    """`group(attempt(...), attempt(...), id="a", source="s", prompt="How many?")`."""

    def make(*attempts: Trajectory, id: str = "p", source: str = "s", prompt: str = "?") -> Group:
        return Group(problem=Problem(id=id, prompt=prompt, answer=None, source=source), trajectories=attempts)

    return make
