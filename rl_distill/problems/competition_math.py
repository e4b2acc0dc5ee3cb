"""MATH (arXiv:2103.03874): competition problems with LaTeX answers; the training split, and the 500 test problems of MATH-500."""

import re
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.row_set import RowSet
from rl_distill.problems.rows import HubDataset, Row
from rl_distill.seeding import addressed_seed
from rl_distill.text import last_boxed
from rl_distill.trajectory import Group, Problem


@config
class Math(RowSet):
    """Prompts and gold answers; `metadata` has `difficulty` (1 to 5) and `subject`. Rows without a gold answer are left out."""

    name: Literal["math"] = "math"
    split: Literal["train", "test"] = setting("train", about="the training problems, or MATH-500", source="arXiv:2305.20050")
    revision: str | None = setting(None, about="hub commit or tag to load; none takes the newest")

    @property
    def file(self) -> str:
        return "math_train.jsonl" if self.split == "train" else "math500.jsonl"

    @property
    def hub(self) -> HubDataset:
        name = "DigitalLearningGmbH/MATH-lighteval" if self.split == "train" else "HuggingFaceH4/MATH-500"
        return HubDataset(name, self.split, revision=self.revision)

    def group(self, row: Row, index: int) -> Group | None:
        prompt = row.text("problem")
        answer = row.answer("answer") if "answer" in row.values else last_boxed(row.text("solution"))
        if not (answer or "").strip():
            return None
        problem = Problem(
            id=f"math-{row.values['unique_id']}" if "unique_id" in row.values else f"math-train-{addressed_seed(prompt):016x}",
            prompt=prompt,
            answer=answer,
            source="math",
            metadata={"difficulty": _difficulty(row), "subject": row.text("subject" if "subject" in row.values else "type")},
        )
        return Group(problem=problem)


def _difficulty(row: Row) -> float | None:
    """The level as a number; None where the set does not give one ("Level ?")."""
    value = row.value("difficulty" if "difficulty" in row.values else "level")
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"Level (\d|\?)", str(value))
    if found is None:
        raise InputError(row.where, f"difficulty is {value!r}", "give a number, or 'Level 3'")
    return None if found[1] == "?" else float(found[1])
