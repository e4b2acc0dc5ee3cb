"""A file of problems with gold answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.base import checked
from rl_distill.problems.rows import Row, read_rows, rows_digest
from rl_distill.trajectory import Group, Problem


@config
class Jsonl:
    """One problem a row: a prompt and its gold answer. Every other column becomes the problem's metadata."""

    name: Literal["jsonl"] = "jsonl"
    path: str = setting(about=".jsonl, .json or .parquet file")
    prompt_column: str = setting("prompt", about="column with the problem's text")
    answer_column: str | None = setting("answer", about="column with the gold answer; none: nobody knows the answers")
    id_column: str | None = setting("id", about="column that identifies a problem; none numbers the rows")

    def groups(self) -> Sequence[Group]:
        rows = read_rows(path=self.path)
        return checked([Group(problem=self._problem(row, number)) for number, row in enumerate(rows, start=1)], self.name)

    def data_digest(self) -> str:
        return rows_digest(read_rows(path=self.path))

    def _problem(self, row: Row, number: int) -> Problem:
        answer = None if self.answer_column is None else row.answer(self.answer_column)
        if answer is None and self.answer_column is not None:
            raise InputError(f"{row.where}, column {self.answer_column!r}", "is empty", "give the gold answer, or drop the row")
        special = {self.prompt_column, self.answer_column, self.id_column}
        return Problem(
            id=f"row-{number}" if self.id_column is None else self._identifier(row, self.id_column),
            prompt=row.text(self.prompt_column),
            answer=answer,
            source=Path(self.path).stem,
            metadata={column: value for column, value in row.values.items() if column not in special},
        )

    def _identifier(self, row: Row, column: str) -> str:
        if column not in row.values:
            raise InputError(
                row.where, f"has no column {column!r}", "name the column in `id_column`, or set it to null to number the rows"
            )
        identifier = row.values[column]
        if isinstance(identifier, bool) or not isinstance(identifier, int | str) or identifier == "":
            raise InputError(f"{row.where}, column {column!r}", f"is {identifier!r}", "give a text or an integer")
        return str(identifier)
