"""Published rows whose columns say which is the problem and which the gold answer: most benchmarks are no more than that."""

from typing import Literal

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.row_set import RowSet
from rl_distill.problems.rows import HubDataset, Row
from rl_distill.text import last_boxed
from rl_distill.trajectory import Group, Problem


@config
class HubTable:
    """Where a table lives on the Hugging Face hub."""

    dataset: str = setting(about="its name there, such as math-ai/amc23")
    split: str = setting("test", about="its split")
    subset: str | None = setting(None, about="its configuration; none is the default one")
    revision: str | None = setting(None, about="commit or tag to load; none takes the newest")


@config
class Table(RowSet):
    r"""One problem a row. Where copies of a set name a column otherwise, the first name that a row has is read.

    A gold answer is text, a number (27.0 is "27") or a list of one of them. Without an answer column the last `\boxed{...}` of
    `solution_column` is the gold answer. A row without a gold answer is an error that names it.
    """

    name: Literal["table"] = "table"
    data_file: str = setting(about="name of the set's file in the folder RL_DISTILL_DATA")
    hub_table: HubTable | None = setting(None, about="where it lives on the hub; none: nowhere")
    prompt_columns: tuple[str, ...] = setting(("problem", "question"), about="names of the problem's column", min_length=1)
    answer_columns: tuple[str, ...] = setting(("answer",), about="names of the gold answer's column")
    solution_column: str | None = setting(None, about="column whose last box is the gold answer where there is no answer column")
    id_columns: tuple[str, ...] = setting(("id",), about="names of a column that identifies a row; a row without is numbered")

    @property
    def file(self) -> str:
        return self.data_file

    @property
    def hub(self) -> HubDataset | None:
        where = self.hub_table
        return None if where is None else HubDataset(where.dataset, where.split, where.subset, where.revision)

    def group(self, row: Row, index: int) -> Group:
        stem = self.data_file.partition(".")[0]
        prompt = next((column for column in self.prompt_columns if column in row.values), self.prompt_columns[0])
        identifier = next((row.values[column] for column in self.id_columns if column in row.values), index)
        gold = self._gold(row)
        return Group(problem=Problem(id=f"{stem}-{identifier}", prompt=row.text(prompt), answer=gold, source=stem))

    def _gold(self, row: Row) -> str:
        column = next((column for column in self.answer_columns if column in row.values), None)
        if column is not None:
            gold = _single(row, column).answer(column)
        elif self.solution_column is not None:
            gold = last_boxed(row.text(self.solution_column))
        else:
            row.value(self.answer_columns[0] if self.answer_columns else "answer")  # raises: it names what is there
            gold = None
        if not gold:
            place = column or self.solution_column
            raise InputError(f"{row.where}, column {place!r}", "has no gold answer", "give it, or drop the row")
        return gold


def _single(row: Row, column: str) -> Row:
    """The row with a list of one answer unpacked."""
    value = row.values[column]
    if not isinstance(value, list):
        return row
    if len(value) > 1:
        raise InputError(f"{row.where}, column {column!r}", f"lists {len(value)} answers", "give one gold answer")
    return Row({**row.values, column: value[0] if value else None}, row.where)
