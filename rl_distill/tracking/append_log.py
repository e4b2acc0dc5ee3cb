"""A file of JSON lines that grows, and that a resumed run cuts back to where its checkpoint stood."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError


class AppendLog:
    """Appends one JSON object a line and flushes, so that a killed run loses no finished line.

    To continue a run, store `position()` with each checkpoint and hand it to `truncate` on resume: the lines of steps that will
    be run again go, and every step stands in the file once. A last line that a kill cut in half is dropped on opening.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)  # what a full disk refuses is not kept to fail again on closing
        except OSError as error:
            raise InputError(
                "run_dir", f"{str(path)!r} cannot be written ({error.strerror})", "choose a folder you may write to"
            ) from None
        self._file.truncate(_end_of_whole_lines(path))

    def write(self, line: Mapping[str, Any]) -> None:
        """One line; values that JSON has no number for (NaN, infinity) are the caller's to name."""
        rest = memoryview(json.dumps(line, allow_nan=False).encode() + b"\n")
        while rest:
            rest = rest[self._file.write(rest) :]

    def position(self) -> int:
        """Bytes written so far: where the next line will begin."""
        return os.fstat(self._file.fileno()).st_size

    def sync(self) -> None:
        """Put what was written onto the disk, before a checkpoint says that it is there."""
        os.fsync(self._file.fileno())

    def truncate(self, offset: int) -> None:
        """Drop the lines from `offset`, an earlier `position()`, onwards.

        Raises:
            InputError: no line of the file begins there, so it is not the one that was written.
        """
        if offset != 0 and not self._begins_line(offset):
            raise InputError(
                str(self.path),
                f"is not the file that the checkpoint belongs to (no line begins at byte {offset} of {self.position()})",
                "restore the file, or start the run in a new folder",
            )
        self._file.truncate(offset)

    def close(self) -> None:
        self._file.close()

    def _begins_line(self, offset: int) -> bool:
        with self.path.open("rb") as file:
            file.seek(max(0, offset - 1))
            return offset > 0 and file.read(1) == b"\n"


def _end_of_whole_lines(path: Path) -> int:
    """Where the last whole line ends; reads backwards, because the file of a long run is large."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
