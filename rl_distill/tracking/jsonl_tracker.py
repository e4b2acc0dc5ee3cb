"""The record of every run: `metrics.jsonl`, one line for each step, exactly once, also over interruptions."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError
from rl_distill.tracking.append_log import AppendLog

_RESERVED = frozenset({"stage", "step"})


class JsonlTracker:
    """Appends `{"stage": ..., "step": ..., <metric>: <value>, ...}` for each step.

    A value that is not finite is measured, not missing: it is written as the string "NaN", "Infinity" or "-Infinity", which keeps
    the file standard JSON and which `float()` reads back.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = AppendLog(path)

    def begin(self, stage: str, steps: int | None) -> None:
        """Nothing to do: every line names its stage."""

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        if clash := _RESERVED & metrics.keys():
            raise ValueError(f"metric {sorted(clash)[0]!r} has the name of a column of its own; rename the metric")
        self._log.write({"stage": stage, "step": step} | {name: _as_json(value) for name, value in metrics.items()})

    def alert(self, stage: str, step: int, name: str, text: str) -> None:
        """Nothing to do: the step's line has the metric `alarm/NAME`, and the stage's result what was said."""

    def artifact(self, path: Path, kind: str, name: str) -> None:
        """Nothing to do: artifacts already lie in the run folder."""

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Nothing to do: what tables show already lies in the run folder, in full."""

    def position(self) -> int:
        """Bytes written so far; a checkpoint stores it."""
        return self._log.position()

    def sync(self) -> None:
        """Put what was written onto the disk."""
        self._log.sync()

    def truncate(self, offset: int) -> None:
        """Back to the `position()` of the checkpoint that a resumed run continues from (see `AppendLog.truncate`)."""
        self._log.truncate(offset)

    def close(self, failed: bool = False) -> None:
        self._log.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, non-finite values as floats; a half-written last line is left out.

    Raises:
        InputError: the file is missing, or a whole line is no JSON object.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError("metrics", f"{str(path)!r} cannot be read ({error.strerror})", "name the folder of a run") from None
    rows = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            row = json.loads(line)
            place = {"stage": row.pop("stage"), "step": row.pop("step")}
            rows.append(place | {name: float(value) for name, value in row.items()})
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"{path}:{number}", "is no line of metrics", "remove the line or restore the file") from None
    return rows


def _as_json(value: float) -> float | int | str:
    if isinstance(value, int):
        return int(value)
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
