"""Whether two runs of the same recipe are the same, number for number, and where they part."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

# What a clock says, and what follows from it: no two runs agree in it.
CLOCKED = ("time/", "engine/idle_fraction", "learner/idle_fraction", "rollout/queued_groups")


def first_difference(
    recorded: Path, replayed: Path, stages: Sequence[str], *, until: int | None = None, tolerance: float = 0.0
) -> str | None:
    """Where the second run parts from the first, in a line; None if it does nowhere.

    Metrics but for what a clock says, the ledger, and the weights of every finished stage's student are compared, bit for bit.

    Args:
        stages: those that are compared.
        until: `run/step` up to which both are compared; then weights are not.
        tolerance: relative difference of numbers that counts as none, as between machines; above 0 weights are not compared.
    """
    steps: set[tuple[str, int]] | None = None
    if until is not None:
        steps = {(row["stage"], row["step"]) for row in _rows(recorded / "metrics.jsonl", stages) if row["run/step"] <= until}
    for name in ("metrics.jsonl", "ledger.jsonl"):
        pairs = zip_longest(_rows(recorded / name, stages, steps), _rows(replayed / name, stages, steps))
        if found := next((text for before, now in pairs if (text := _parting(name, before, now, tolerance))), None):
            return found
    if until is not None or tolerance:
        return None
    for stage in stages:
        for path in sorted((recorded / "stages" / stage / "student").glob("*.safetensors")):
            other = replayed / "stages" / stage / "student" / path.name
            if not other.exists() or _digest(path) != _digest(other):
                return f"stage {stage!r}: the student's weights differ ({path.name})"
    return None


def _parting(name: str, before: dict[str, Any] | None, now: dict[str, Any] | None, tolerance: float) -> str | None:
    """What two lines of a record differ in."""
    if before is None or now is None:
        which, row = ("the replay", before) if now is None else ("the recorded run", now)
        assert row is not None, "one of the two has a line"
        return f"{name} of {which} lacks stage {row['stage']!r} step {row['step']}"
    for key in [*before, *(key for key in now if key not in before)]:
        if not _same(before.get(key), now.get(key), tolerance):
            then, changed = _short(before.get(key)), _short(now.get(key))
            return f"stage {before['stage']!r} step {before['step']}: {key} was {then} and is {changed} ({name})"
    return None


def _same(before: Any, now: Any, tolerance: float) -> bool:
    if isinstance(before, float) and isinstance(now, float) and tolerance:
        return math.isclose(before, now, rel_tol=tolerance, abs_tol=tolerance)
    return bool(before == now)


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a record; a last one that a killed process left unfinished is no line."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _rows(path: Path, stages: Sequence[str], steps: set[tuple[str, int]] | None = None) -> Iterator[dict[str, Any]]:
    for row in whole_rows(path):
        if row["stage"] in stages and (steps is None or (row["stage"], row["step"]) in steps):
            yield {key: value for key, value in row.items() if not key.startswith(CLOCKED)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
