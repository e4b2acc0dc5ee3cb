"""GPQA (arXiv:2311.12022): graduate-level questions of biology, physics and chemistry with four choices each."""

from random import Random
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.problems.row_set import RowSet
from rl_distill.problems.rows import HubDataset, Row
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Group, Problem

_LETTERS = "ABCD"
_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


@config
class Gpqa(RowSet):
    """Question and lettered choices as one prompt; the gold answer is the letter of the right one.

    Rows list the right answer first, so the choices are put in an order that is a function of `order_seed` and the row alone.
    """

    name: Literal["gpqa"] = "gpqa"
    subset: Literal["diamond", "main", "extended"] = setting("diamond", about="198 questions, 448, or 546")
    order_seed: int = setting(0, about="decides in which order each question's choices stand")
    revision: str | None = setting(None, about="hub commit or tag to load; none takes the newest")

    @property
    def file(self) -> str:
        return f"gpqa_{self.subset}.jsonl"

    @property
    def hub(self) -> HubDataset:
        return HubDataset("Idavidrein/gpqa", "train", subset=f"gpqa_{self.subset}", revision=self.revision)

    def group(self, row: Row, index: int) -> Group:
        question = row.text("Question").strip()
        right = row.text("Correct Answer").strip()
        choices = [right, *(row.text(column).strip() for column in _WRONG)]
        Random(addressed_seed("gpqa choices", self.order_seed, question)).shuffle(choices)
        lines = [f"({letter}) {choice}" for letter, choice in zip(_LETTERS, choices, strict=True)]
        identifier = row.values.get("Record ID") or index
        problem = Problem(
            id=f"gpqa-{identifier}",
            prompt="\n".join([question, "", *lines]),
            answer=_LETTERS[choices.index(right)],
            source="gpqa",
            metadata={"domain": row.values.get("High-level domain")},
        )
        return Group(problem=problem)
