"""Files of graded responses, as evaluations write them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from recorded_answers import Said, write_groups

from rl_distill.analysis.samples import Recorded


@pytest.fixture
def groups_file(tmp_path: Path) -> Callable[..., Path]:
    """`groups_file("name", {"p1": [Said("wait", "wrong")]})` writes JSON lines of groups."""

    def write(name: str, answers: dict[str, Sequence[Said]], **options: Any) -> Path:
        return write_groups(tmp_path / f"{name}.jsonl", answers, **options)

    return write


@pytest.fixture
def recorded() -> Callable[..., Recorded]:
    def make(
        text: str, status: Any = "correct", *, tokens: int | None = 10, problem: str = "p", finished: bool = True
    ) -> Recorded:
        return Recorded(problem_id=problem, text=text, status=status, finished=finished, num_tokens=tokens)

    return make
