"""Data sets in TRL's formats, standard and conversational: prompts, prompt-completion, preference pairs, messages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from pydantic import model_validator

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.base import checked, same_text, status_of, teacher_trajectory
from rl_distill.problems.rows import HubDataset, Row, read_rows, rows_digest
from rl_distill.trajectory import Group, Message, Problem, Verdict

Turns = tuple[Message, ...]

_ROLES = ("system", "user", "assistant")
_COLUMNS = {"prompt", "completion", "chosen", "rejected", "messages", "label"}
_REFUSED = {
    "completions": "rows with a label for each step are for process rewards: give `completion` with one `label`",
    "tools": "tool calls are not trained here: drop the column, or write the tools into a system turn",
    "chat_template_kwargs": "drop the column: every row is put into the template in the same way",
    "images": "drop the column, or take a trainer for models that see",
    "image": "drop the column, or take a trainer for models that see",
}
_UNSAID = ("tool_calls", "thinking", "reasoning", "reasoning_content")  # parts of a turn beside its content


@config
class TrlRows:
    """One problem a row, from a file or from the hub.

    The first of these that a row has: `chosen` and `rejected` (with `prompt`, or as message lists that share their beginning);
    `messages`; `prompt` with `completion` (and perhaps `label`: false makes it a wrong one); `prompt` alone. The problem's text
    is the user turn before the response; trajectories hold the whole conversation. Every other column becomes the problem's
    metadata, and with it an argument of reward functions written for TRL.
    """

    name: Literal["trl"] = "trl"
    path: str | None = setting(None, about=".jsonl, .json or .parquet file")
    dataset: str | None = setting(None, about="name on the Hugging Face hub, instead of a file")
    subset: str | None = setting(None, about="configuration of the hub data set")
    split: str = setting("train", about="split of the hub data set")
    revision: str | None = setting(None, about="commit or tag of the hub data set; none takes the newest")
    answer_column: str | None = setting(
        None, about="column with the gold answer; none takes `answer`, else `solution`, else there is none"
    )

    @model_validator(mode="after")
    def _one_place(self) -> "TrlRows":
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either `path` (a file) or `dataset` (a name on the hub)")
        if self.path is not None and (self.subset, self.split, self.revision) != (None, "train", None):
            raise ValueError("subset, split and revision belong to a hub `dataset` and have no effect on a file: drop them")
        return self

    def groups(self) -> Sequence[Group]:
        return checked([self._group(row, number) for number, row in enumerate(self._rows(), start=1)], self.name)

    def data_digest(self) -> str:
        return rows_digest(self._rows())

    def _rows(self) -> list[Row]:
        hub = HubDataset(self.dataset, self.split, self.subset, self.revision) if self.dataset else None
        return read_rows(path=self.path, hub=hub)

    def _group(self, row: Row, number: int) -> Group:
        source = self.dataset or Path(str(self.path)).stem
        return row_group(row, number, source=source, answer=self._answer(row))

    def _answer(self, row: Row) -> str | None:
        if self.answer_column is not None:
            return row.answer(self.answer_column)
        column = next((name for name in ("answer", "solution") if name in row.values), None)
        return None if column is None else row.answer(column)


class TrlTable(Sequence[Group]):
    """Rows in memory, such as a `datasets.Dataset`, as groups that are made when they are read.

    Args:
        table: mappings by index, each a row in one of TRL's formats.
        name: of the table, for error messages and the ids of problems.
    """

    def __init__(self, table: Any, name: str) -> None:
        self.table, self.name = table, name

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Group]: ...
    def __getitem__(self, index: int | slice) -> Group | Sequence[Group]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        number = range(1, len(self) + 1)[index]
        where = f"{self.name} row {number}"
        values = self.table[number - 1]
        if not isinstance(values, Mapping):
            raise InputError(where, f"is a {type(values).__name__}", "give a mapping from column names to values")
        return checked([row_group(Row(values, where), number, source=self.name, answer=None)], self.name)[0]


def row_group(row: Row, number: int, *, source: str, answer: str | None) -> Group:
    """The group of one row: its problem, and the responses that it has.

    Columns that are None count as absent, as they are where sets of different columns were concatenated.

    Args:
        number: of the row, which gives the problem its id where no column `id` does.
        source: what the rows come from.
        answer: the gold answer, if there is one.

    Raises:
        InputError: the row is in no format that says what was asked and what was said, or something in it would be dropped.
    """
    row = Row({column: value for column, value in row.values.items() if value is not None}, row.where)
    _check_nothing_is_dropped(row)
    before, attempts = _conversation(row)
    if not before or before[-1].role != "user":
        raise InputError(row.where, "has no user turn before the response", "end the prompt with a user turn")
    metadata = {column: value for column, value in row.values.items() if column not in _COLUMNS}
    name = str(row.values["id"]) if isinstance(row.values.get("id"), str | int) else f"{source}-{number}"
    problem = Problem(id=name, prompt=before[-1].content, answer=answer, source=source, metadata=metadata)
    if not attempts and len(before) > 1:
        remedy = "put a system turn into the recipe's prompt format, and prompts of several turns into data with responses"
        raise InputError(row.where, f"a prompt of {len(before)} turns cannot be rolled out", remedy)
    trajectories = [
        teacher_trajectory(problem, before + response, model=source, verdict=verdict) for response, verdict in attempts
    ]
    return Group(problem=problem, trajectories=tuple(trajectories))


def _check_nothing_is_dropped(row: Row) -> None:
    """Columns that change what TRL would train on, and which this package has no place for."""
    for column, remedy in _REFUSED.items():
        if row.values.get(column):
            raise InputError(f"{row.where}, column {column!r}", "is not supported", remedy)


def _conversation(row: Row) -> tuple[Turns, list[tuple[Turns, Verdict]]]:
    """The turns before the response, and the responses with their verdicts."""
    columns = row.values
    if "chosen" in columns or "rejected" in columns:
        before, chosen, rejected = _pair(row)
        return before, [(chosen, _verdict(True, "chosen")), (rejected, _verdict(False, "rejected"))]
    if "messages" in columns:
        turns = _turns(row, "messages")
        return turns[:-1], [(turns[-1:], _verdict(True, ""))]
    if "prompt" not in columns:
        remedy = "give `prompt`, `messages`, or `chosen` with `rejected`: a plain `text` does not say who says what"
        raise InputError(row.where, f"has only the columns {sorted(columns)}", remedy)
    before = _prompt(row)
    if "completion" not in columns:
        return before, []
    label = columns.get("label", True)
    if not isinstance(label, bool):
        raise InputError(f"{row.where}, column 'label'", f"is {label!r}", "give true (wanted) or false (unwanted)")
    return before, [(_response(row, "completion", before), _verdict(label, ""))]


def _pair(row: Row) -> tuple[Turns, Turns, Turns]:
    """The prompt, the chosen and the rejected response."""
    for column in ("chosen", "rejected"):
        if not row.values.get(column):
            remedy = "drop the row, or give `completion` with `label` for a response that has no counterpart"
            raise InputError(f"{row.where}, column {column!r}", "is missing or empty, and a pair needs both", remedy)
    if "prompt" in row.values:
        before = _prompt(row)
    elif isinstance(row.value("chosen"), str) or isinstance(row.value("rejected"), str):
        raise InputError(row.where, "texts `chosen` and `rejected` do not say where the prompt ends", "add a `prompt` column")
    else:
        before = _shared(_turns(row, "chosen"), _turns(row, "rejected"))
    chosen, rejected = _response(row, "chosen", before), _response(row, "rejected", before)
    if same_text(chosen, rejected):
        raise InputError(row.where, "`chosen` and `rejected` are the same", "drop the row, or mend it")
    return before, chosen, rejected


def _shared(chosen: Turns, rejected: Turns) -> Turns:
    """The turns with which both begin, without the last turn of either."""
    longest = min(len(chosen), len(rejected)) - 1
    return chosen[: next((n for n in range(longest) if chosen[n] != rejected[n]), longest)]


def _prompt(row: Row) -> Turns:
    if isinstance(row.value("prompt"), str):
        return (Message("user", row.text("prompt")),)
    return _turns(row, "prompt", closing="user")


def _response(row: Row, column: str, before: Turns) -> Turns:
    """The turns after the prompt; a message list may repeat the prompt."""
    if isinstance(row.value(column), str):
        return (Message("assistant", row.text(column)),)
    turns = _turns(row, column)
    turns = turns[len(before) :] if turns[: len(before)] == before else turns
    if turns[0].role != "assistant":
        problem = f"begins with a turn of the {turns[0].role} that is not the prompt"
        raise InputError(f"{row.where}, column {column!r}", problem, "let it go on from the prompt")
    return turns


def _turns(row: Row, column: str, closing: str = "assistant") -> Turns:
    """A list of messages that ends in a turn of the `closing` role."""
    where = f"{row.where}, column {column!r}"
    messages = row.value(column)
    if not isinstance(messages, list) or not messages:
        raise InputError(where, f"is {str(messages)[:60]!r}", "give a list of messages with `role` and `content`")
    turns = tuple(_turn(message, where) for message in messages)
    if turns[-1].role != closing:
        raise InputError(where, f"ends in a turn of the {turns[-1].role}", f"end it with a turn of the {closing}")
    return turns


def _turn(message: Any, where: str) -> Message:
    role = message.get("role") if isinstance(message, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if role not in _ROLES or not isinstance(content, str):
        raise InputError(
            where, f"has the message {str(message)[:80]!r}", f"give a `role` of {', '.join(_ROLES)} and a text as `content`"
        )
    dropped = next((part for part in _UNSAID if message.get(part)), None)
    if dropped is not None:
        remedy = "write it into `content`, where it is trained on, or remove it"
        raise InputError(where, f"has a message with {dropped!r} beside its content", remedy)
    return Message(role, content)


def _verdict(is_correct: bool, detail: str) -> Verdict:
    return Verdict(status=status_of(is_correct), method="dataset", detail=detail)
