"""Rows of a data set too large for memory: they stay on disk, memory-mapped, and are read one at a time."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError
from rl_distill.problems.rows import DATA_FOLDER, HubDataset, Row

_KINDS = {".parquet": "parquet", ".jsonl": "json", ".json": "json"}
_HASHED_ROWS = 1000  # at a time


class DiskRows:
    """Some columns of a data set.

    Args:
        table: a `datasets.Dataset`.
        name: of the set, for error messages.

    Raises:
        InputError: a column is missing.
    """

    def __init__(self, table: Any, columns: Sequence[str], name: str) -> None:
        missing = [column for column in columns if column not in table.column_names]
        if missing:
            raise InputError(name, f"has no column {missing[0]!r}", f"it has {', '.join(table.column_names) or 'none at all'}")
        self.name = name
        self._table = table.select_columns(list(columns))

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Row:
        return Row(self._table[index], f"{self.name} row {index + 1}")

    def column(self, name: str) -> Any:
        """A column as a `pyarrow.ChunkedArray`, still on disk."""
        return self._table.with_format("arrow")[:][name]

    def digest(self) -> str:
        """SHA-256 of these columns' contents, in order: one pass over the disk, at its speed."""
        digest = hashlib.sha256()
        table = self._table.with_format("arrow")[:]
        for start in range(0, len(self), _HASHED_ROWS):
            # rows that lie in several chunks are copied into one, so that chunk borders leave no trace in the bytes
            for batch in table.slice(start, _HASHED_ROWS).combine_chunks().to_batches():
                digest.update(batch.serialize())
        return digest.hexdigest()


def disk_rows(*, path: str | None, folder: str, hub: HubDataset, columns: Sequence[str]) -> DiskRows:
    """Columns of the first that is given: `path`, a file or a folder of Parquet files; `folder` in RL_DISTILL_DATA; the hub.

    The first time, what is found is converted into the cache of the `datasets` library.

    Raises:
        InputError: none of them is there, it cannot be read, or a column is missing.
    """
    data = os.environ.get(DATA_FOLDER)
    local = Path(path).expanduser() if path is not None else Path(data).expanduser() / folder if data else None
    if local is None or (path is None and not local.is_dir()):
        return DiskRows(_hub_table(hub, folder), columns, hub.name)
    field = "path" if path is not None else DATA_FOLDER
    return DiskRows(_local_table(local, field), columns, local.name)


def _local_table(path: Path, field: str) -> Any:
    if not path.exists():
        raise InputError(field, f"there is no file {str(path)!r}", "check the path; it is relative to the current folder")
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    kind = _KINDS.get(files[0].suffix) if files else None
    if kind is None:
        problem = f"{str(path)!r} is no file of a known kind and no folder with Parquet files"
        raise InputError(field, problem, f"give such a folder, or a file that ends in {', '.join(_KINDS)}")
    import datasets

    try:
        return datasets.load_dataset(kind, data_files=[str(file) for file in files], split="train")
    except Exception as error:  # of a dozen unrelated classes, as in `rows`
        reason = f"{str(path)!r} cannot be read ({_reason(error)})"
        raise InputError(field, reason, "give readable Parquet files, or one object a line in a .jsonl file") from error


def _hub_table(hub: HubDataset, folder: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(hub.name, hub.subset, split=hub.split, revision=hub.revision)
    except Exception as error:  # of a dozen unrelated classes, as in `rows`
        remedy = (
            f"check the network, or give it with `path` or as the folder {folder!r} in the environment variable {DATA_FOLDER}"
        )
        raise InputError(f"data set {hub.name!r}", f"cannot be loaded from the hub ({_reason(error)})", remedy) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
