"""A server that misbehaves, and what comes of asking it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, chat_server
from teacher_calls import FAST, Curated, settings_of

from rl_distill.curation.failures import RetryPolicy
from rl_distill.curation.generate import Generation, generate
from rl_distill.curation.store import ResponseStore
from rl_distill.curation.teacher import TeacherRequest


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
