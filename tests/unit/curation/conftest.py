"""A server that misbehaves, what comes of asking it, and groups and attempts in a line."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, chat_server
from teacher_calls import FAST, Curated, settings_of

from rl_distill.curation.failures import RetryPolicy
from rl_distill.curation.generate import Generation, generate
from rl_distill.curation.store import ResponseStore
from rl_distill.curation.teacher import TeacherRequest
from rl_distill.problems.base import dialogue
from rl_distill.trajectory import Group, Problem, Score, Trajectory, Verdict


@pytest.fixture(scope="session")
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


@pytest.fixture
def curate(tmp_path: Path) -> Callable[..., Curated]:
    """Asks a teacher and reads everything back: `curate(teacher, requests, min_success_rate=0)`."""

    def run(teacher: Any, requests: list[TeacherRequest], *, retry: RetryPolicy = FAST, **settings: Any) -> Curated:
        notes: list[str] = []
        with ResponseStore(tmp_path / "store", settings_of(teacher)) as store:
            made = generate(teacher, requests, store, Generation(retry=retry, **settings), notes.append)
            return Curated(made, notes)

    return run


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

    def make(
        *attempts: Trajectory, id: str = "p", source: str = "s", prompt: str = "?", metadata: Mapping[str, Any] | None = None
    ) -> Group:
        problem = Problem(id=id, prompt=prompt, answer=None, source=source, metadata=metadata or {})
        return Group(problem=problem, trajectories=attempts)

    return make
