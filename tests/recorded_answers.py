"""Groups of responses that say what a test wants."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rl_distill.records import group_to_dict
from rl_distill.trajectory import Group, Message, Problem, Score, Trajectory, Verdict


class Said(NamedTuple):
    """A response in a test: its text, its verdict, and its tokens (None: as many as it has words)."""

    text: str
    status: Any = "correct"
    tokens: int | None = None
    finish: Any = "stop"


def write_groups(path: Path, answers: Mapping[str, Sequence[Said]], prompt: str = "question {}") -> Path:
    """JSON lines of groups; `answers` are by problem id."""
    lines = [json.dumps(group_to_dict(_group(key, prompt.format(key), said))) for key, said in answers.items()]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def _group(key: str, prompt: str, answers: Sequence[Said]) -> Group:
    problem = Problem(id=key, prompt=prompt, answer="1", source="test")
    return Group(problem=problem, trajectories=tuple(_attempt(problem, one) for one in answers))


def _attempt(problem: Problem, said: Said) -> Trajectory:
    count = len(said.text.split()) if said.tokens is None else said.tokens
    return Trajectory(
        problem_id=problem.id,
        messages=(Message("user", problem.prompt), Message("assistant", said.text)),
        token_ids=(0,) * (count + 1),
        sampled=(False,) + (True,) * count,
        model="m",
        origin="policy",
        finish_reason=said.finish,
        score=Score(value=None, verdict=Verdict(status=said.status, method="test")),
    )
