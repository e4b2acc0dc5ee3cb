"""AIME: thirty problems a year (fifteen before 2000) whose answers are integers from 0 to 999."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import field_validator

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.base import checked
from rl_distill.problems.rows import HubDataset, Row, read_rows, rows_digest
from rl_distill.trajectory import Group, Problem


class _Collection(NamedTuple):
    years: range
    file: str
    hub: HubDataset


COLLECTIONS = (
    _Collection(range(1983, 2024), "aime_1983_2023.jsonl", HubDataset("gneubig/aime-1983-2024", "train")),
    _Collection(range(2024, 2025), "aime24.jsonl", HubDataset("HuggingFaceH4/aime_2024", "train")),
    _Collection(range(2025, 2026), "aime25.jsonl", HubDataset("math-ai/aime25", "test")),
)
_URL = re.compile(r"/(?P<year>\d{4})_AIME_(?P<exam>I{1,2})_Problems/Problem_(?P<number>\d+)")


@config
class Aime:
    """The problems of some years; `metadata` has the `year`, and the `difficulty` where it is known.

    Collections differ: that of 1983-2023 on the hub lacks some forty problems that the file of the same years has.
    """

    name: Literal["aime"] = "aime"
    years: tuple[int, ...] | str = setting((2024,), about='years, as a list or as a range such as "1983-2023"')
    path: str | None = setting(None, about="local file with all the years; none looks in RL_DISTILL_DATA, then on the hub")

    @field_validator("years")
    @classmethod
    def _years_exist(cls, years: tuple[int, ...] | str) -> tuple[int, ...] | str:
        unknown = sorted(set(_listed(years)) - {year for collection in COLLECTIONS for year in collection.years})
        if unknown or not _listed(years):
            raise ValueError(f"give years from 1983 to {COLLECTIONS[-1].years[-1]}" + (f", without {unknown}" if unknown else ""))
        return years

    def groups(self) -> Sequence[Group]:
        wanted = set(_listed(self.years))
        found = [group for row, year in self._rows(wanted) if (group := _group(row, year)).problem.metadata["year"] in wanted]
        missing = wanted - {group.problem.metadata["year"] for group in found}
        if missing:
            raise InputError("years", f"there are no problems of {sorted(missing)}", "check `path`, or leave the years out")
        return checked(found, self.name)

    def data_digest(self) -> str:
        return rows_digest(row for row, _ in self._rows(set(_listed(self.years))))

    def _rows(self, wanted: set[int]) -> list[tuple[Row, int | None]]:
        """Rows with the year, where the collection they come from has only one."""
        if self.path is not None:
            return [(row, None) for row in read_rows(path=self.path)]
        collections = [collection for collection in COLLECTIONS if wanted & set(collection.years)]
        return [
            (row, collection.years[0] if len(collection.years) == 1 else None)
            for collection in collections
            for row in read_rows(path=None, file=collection.file, hub=collection.hub)
        ]


def _listed(years: tuple[int, ...] | str) -> tuple[int, ...]:
    if not isinstance(years, str):
        return years
    found = re.fullmatch(r"(\d{4})(?:-(\d{4}))?", years.replace(" ", ""))
    if found is None:
        raise ValueError('write a range of years as "1983-2023"')
    return tuple(range(int(found[1]), int(found[2] or found[1]) + 1))


def _group(row: Row, year: int | None) -> Group:
    year, exam = _exam(row, year)
    answer = row.answer("Answer" if "Answer" in row.values else "answer")
    if answer is None or not answer.isdecimal():
        raise InputError(row.where, f"answer is {answer!r}", "an AIME answer is an integer from 0 to 999")
    prompt = row.text("Question" if "Question" in row.values else "problem")
    metadata = {"year": year, **({"difficulty": row.values["difficulty"]} if "difficulty" in row.values else {})}
    return Group(
        problem=Problem(id=f"aime-{year}-{exam}", prompt=prompt, answer=str(int(answer)), source="aime", metadata=metadata)
    )


def _exam(row: Row, year: int | None) -> tuple[int, str]:
    """Year and "exam-number" of a problem, from the columns of whichever collection it comes from."""
    values = row.values
    if "aime_number" in values:
        return int(row.value("year")), f"{values['aime_number']}-{row.value('problem_number')}"
    if "Problem Number" in values:
        return int(row.value("Year")), f"{2 if values.get('Part') == 'II' else 1}-{values['Problem Number']}"
    found = _URL.search(str(values.get("url", "")))
    if found is not None:
        return int(found["year"]), f"{len(found['exam'])}-{found['number']}"
    if year is None:
        remedy = "give `year`, `aime_number` and `problem_number`, or an artofproblemsolving.com `url`"
        raise InputError(row.where, "does not say which exam it is from", remedy)
    return year, str(row.value("id"))
