"""Rows of a data set, from a file (JSON Lines, JSON, Parquet) or from the Hugging Face hub, each knowing where it stands."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from rl_distill.errors import InputError

DATA_FOLDER = "RL_DISTILL_DATA"  # environment variable: a folder with local copies of the named sets


class Row(NamedTuple):
    """One row and where it stands, such as "train.jsonl line 3", for error messages."""

    values: Mapping[str, Any]
    where: str

    def value(self, column: str) -> Any:
        """
        Raises:
            InputError: the row has no such column.
        """
        if column not in self.values:
            raise InputError(self.where, f"has no column {column!r}", f"it has {', '.join(self.values) or 'none at all'}")
        return self.values[column]

    def text(self, column: str) -> str:
        """The text of a column.

        Raises:
            InputError: the column is missing, empty or no text.
        """
        value = self.value(column)
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{self.where}, column {column!r}", f"is {value!r}", "give a text that is not empty")
        return value

    def answer(self, column: str) -> str | None:
        """The text of a gold answer, a number written out (27.0 -> "27"); None where the row leaves it empty.

        Raises:
            InputError: the column is missing or holds neither text nor a finite number.
        """
        value = self.value(column)
        if value is None or isinstance(value, str):
            return (value or "").strip() or None
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise InputError(f"{self.where}, column {column!r}", f"is {value!r}", "give the gold answer as text or as a number")
        return str(int(value)) if value == int(value) else repr(value)


class HubDataset(NamedTuple):
    """A data set on the Hugging Face hub."""

    name: str
    split: str
    subset: str | None = None
    revision: str | None = None


def read_rows(*, path: str | None, file: str | None = None, hub: HubDataset | None = None) -> list[Row]:
    """The rows of the first that is given: `path`; `file` in the folder that RL_DISTILL_DATA names; the hub.

    Raises:
        InputError: none of them is there, or it cannot be read.
    """
    if path is not None:
        return _file_rows(Path(path).expanduser(), field="path")
    folder = os.environ.get(DATA_FOLDER)
    local = Path(folder).expanduser() / file if folder and file else None
    if local is not None and local.is_file():
        return _file_rows(local, field=DATA_FOLDER)
    if hub is not None:
        return _hub_rows(hub, file)
    missing = f"there is no file {str(local)!r}" if local else "is not given"
    remedy = f"give the path of a file{f' like {file!r}, or a folder with it in {DATA_FOLDER}' if file else ''}"
    raise InputError("path", f"{missing}, and the set is on no hub", remedy)


def rows_digest(rows: Iterable[Row]) -> str:
    """SHA-256 of rows' contents: equal for equal rows, wherever and in whatever kind of file they lie."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row.values, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def _file_rows(path: Path, *, field: str) -> list[Row]:
    readers = {".jsonl": _json_lines, ".json": _json_list, ".parquet": _parquet}
    if path.suffix not in readers:
        raise InputError(field, f"{str(path)!r} is of no known kind", f"give a file that ends in {', '.join(readers)}")
    try:
        return list(readers[path.suffix](path))
    except FileNotFoundError:
        raise InputError(
            field, f"there is no file {str(path)!r}", "check the path; it is relative to the current folder"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(field, f"{str(path)!r} cannot be read ({error})", "give a readable UTF-8 file") from None


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _row(_parsed(line, f"{path.name} line {number}"), f"{path.name} line {number}")


def _json_list(path: Path) -> Iterator[Row]:
    rows = _parsed(path.read_text(encoding="utf-8"), path.name)
    if not isinstance(rows, list):
        raise InputError(
            path.name, f"holds a {type(rows).__name__}", "give a list of objects, or one object a line in a .jsonl file"
        )
    for number, values in enumerate(rows, start=1):
        yield _row(values, f"{path.name} row {number}")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise InputError(path.name, f"is not valid Parquet ({error})", "write the file again") from None
    for number, values in enumerate(table.to_pylist(), start=1):
        yield _row(_plain(values), f"{path.name} row {number}")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them, since all that is read is written again: a date, say, as its text."""
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def _hub_rows(hub: HubDataset, file: str | None) -> list[Row]:
    try:
        import datasets

        loaded = datasets.load_dataset(hub.name, hub.subset, split=hub.split, revision=hub.revision)
        return [_row(_plain(values), f"{hub.name} {hub.split} row {number}") for number, values in enumerate(loaded, start=1)]
    # The hub client raises errors of a dozen unrelated classes (network, HTTP, cache, parsing): all mean that there are no rows.
    except Exception as error:
        place = f", or a folder with {file!r} in the environment variable {DATA_FOLDER}" if file else ""
        reason = f"cannot be loaded from the hub ({type(error).__name__}: {str(error)[:200]})"
        raise InputError(
            f"data set {hub.name!r}", reason, f"check the network, or give a local file with `path`{place}"
        ) from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(where, f"is not valid JSON ({error})", "mend it; a .jsonl file holds one object a line") from None


def _row(values: Any, where: str) -> Row:
    if not isinstance(values, dict):
        raise InputError(where, f"holds a {type(values).__name__}", "give an object with one key for each column")
    return Row(values, where)
