"""Problems of the arithmetic world with probes that were made by hand, and recipes that hold dialogues about them."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from tiny_runs import rolled_out

from rl_distill.probes import Probe, probes_to_plain
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.problems.arithmetic_chain import drawn_chain
from rl_distill.problems.arithmetic_probes import drawn_probe
from rl_distill.problems.arithmetic_teacher import TEACHER_HABITS
from rl_distill.records import group_to_dict
from rl_distill.trajectory import Group

DIALOGUE: dict[str, Any] = {
    "num_probes": 3,
    "num_partial": 1,
    "reply_tokens": 6,
    "blank_reply": "0",
    "think_longer": "why {question}",
    "branches": {"partial": 1, "direct": 1, "full": 2, "blanked": 1, "shuffled": 1, "think_longer": 1},
}


def probe(number: int, **changes: Any) -> Probe:
    """A probe about a chain of its own."""
    rng = Random(number)
    made = drawn_probe(drawn_chain(rng, 2), TEACHER_HABITS, rng)
    fields = {"rule": f"{made.kind}-{number}", "text": made.question, "teacher_reply": made.reply.text}
    return Probe(**{**fields, "answer_kind": "closed", "teacher_answer": made.answer} | changes)


def probed(count: int = 6, num_probes: int = 5) -> list[Group]:
    """Problems whose metadata carry probes, all of which may be asked."""
    groups = Arithmetic(num_problems=count, levels=(1,)).groups()
    return [
        Group(
            problem=replace(
                group.problem,
                metadata={"probes": probes_to_plain([probe(10 * place + number) for number in range(num_probes)])},
            )
        )
        for place, group in enumerate(groups)
    ]


def write_groups(path: Path, groups: list[Group]) -> Path:
    path.write_text("".join(json.dumps(group_to_dict(group)) + "\n" for group in groups))
    return path


def held_dialogues(path: Path, name: str = "grpo", dialogue: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A stage of GRPO behind dialogues, on the problems of a file."""
    stage = rolled_out(name, **changes)
    source = {"problems": {"name": "records", "path": str(path)}, "group_size": 2, "dialogue": dialogue or DIALOGUE}
    return {**stage, "source": {**stage["source"], **source}}
