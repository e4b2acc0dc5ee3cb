"""NuminaMath-CoT: competition problems of several sources, whose gold answer is what their solution puts into a box."""

from collections.abc import Sequence
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.problems.base import checked
from rl_distill.problems.rows import HubDataset, Row, read_rows, rows_digest
from rl_distill.text import last_boxed
from rl_distill.trajectory import Group, Problem

HUB = "AI-MO/NuminaMath-CoT"
NuminaSource = Literal[
    "amc_aime", "math", "olympiads", "aops_forum", "cn_k12", "gsm8k", "orca_math", "synthetic_amc", "synthetic_math"
]


@config
class NuminaMath:
    """Problems of the chosen sources, called after their row. One whose solution boxes nothing has no gold answer."""

    name: Literal["numina_math"] = "numina_math"
    sources: tuple[NuminaSource, ...] = setting(
        ("amc_aime", "math", "olympiads"), about="which are taken", source="Sky-T1 and Bespoke-Stratos", min_length=1
    )
    path: str | None = setting(
        None, about="local .parquet, .jsonl or .json file; none looks for numina_math.jsonl in RL_DISTILL_DATA, then on the hub"
    )
    revision: str | None = setting(None, about="hub commit or tag to load; none takes the newest")

    def groups(self) -> Sequence[Group]:
        rows = enumerate(self._rows(), start=1)
        return checked(
            [Group(problem=_problem(row, number)) for number, row in rows if row.text("source") in self.sources], self.name
        )

    def data_digest(self) -> str:
        return rows_digest(self._rows())

    def _rows(self) -> list[Row]:
        return read_rows(path=self.path, file="numina_math.jsonl", hub=HubDataset(HUB, "train", revision=self.revision))


def _problem(row: Row, number: int) -> Problem:
    return Problem(
        id=f"numina-{number}",
        prompt=row.text("problem"),
        answer=last_boxed(row.text("solution")),
        source=row.text("source"),
    )
