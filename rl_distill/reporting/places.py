"""Which runs a report is about: folders of runs, and sweeps with the runs of their cells."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError
from rl_distill.reporting.notes import readable

TABLE = "table.csv"
SWEEP, CELLS = "sweep.json", "cells"  # the second is there from the first cell on, the first at the end
WELL = ("done", "stopped")  # states of a cell that did not fail
MAX_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTable:
    """A sweep's own results, as its folder holds them: `header` and `rows` are text."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """
    runs    folders by the label that the report calls them by, no two the same
    notes   what of a sweep could not be read
    """

    runs: dict[str, Path]
    sweeps: tuple[SweepTable, ...]
    notes: tuple[str, ...]


def find_places(sources: Sequence[Path]) -> Places:
    """
    Raises:
        InputError: a folder does not exist, or holds neither a run nor a sweep.
    """
    runs: dict[Path, None] = {}  # in the order given, each once
    sweeps: list[SweepTable] = []
    notes: list[str] = []
    for source in sources:
        path = source.expanduser()
        if not path.is_dir():
            raise InputError("RUN", f"there is no folder {str(source)!r}", "give the folder of a run or a sweep")
        if (path / SWEEP).is_file() or (path / CELLS).is_dir():
            found = sorted(one.parent for one in path.glob(f"{CELLS}/*/recipe.yaml"))
            runs |= dict.fromkeys(one.resolve() for one in found)
            sweeps.append(_table(path, notes))
            if not found:
                notes.append(f"{path}: none of its cells has begun")
        elif (path / "recipe.yaml").is_file() or _is_empty(path):
            runs[path.resolve()] = None
        else:
            raise InputError("RUN", f"{str(source)!r} holds no run", _remedy(path))
    return Places(runs=_labelled(list(runs)), sweeps=tuple(sweeps), notes=tuple(notes))


def _is_empty(path: Path) -> bool:
    """A run that ended before it wrote its recipe leaves at most hidden files."""
    return all(one.name.startswith(".") for one in path.iterdir())


def _remedy(path: Path) -> str:
    inside = sorted(str(one.parent) for one in path.glob("*/recipe.yaml"))
    if not inside:
        return "give the folder of a run (its run_dir) or of a sweep"
    more = f" and {len(inside) - MAX_NAMED} more" if len(inside) > MAX_NAMED else ""
    return f"it holds the runs {', '.join(inside[:MAX_NAMED])}{more}: give those"


def _labelled(paths: Sequence[Path]) -> dict[str, Path]:
    """The shortest ends of the paths that tell them apart."""
    length = 1
    while True:
        labels = ["/".join(path.parts[-length:]) for path in paths]
        if max(Counter(labels).values(), default=1) == 1:
            return dict(zip(labels, paths, strict=True))
        length += 1


def _table(path: Path, notes: list[str]) -> SweepTable:
    plain: dict[str, Any] = readable(notes, str(path / SWEEP), {}, _json, path / SWEEP) if (path / SWEEP).is_file() else {}
    rows = readable(notes, str(path), [], _rows, path / TABLE) if (path / TABLE).is_file() else []
    header, *others = rows or [()]
    failures = readable(notes, str(path / SWEEP), (), _failures, plain)
    return SweepTable(path=path, header=header, rows=tuple(others), failures=failures)


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _rows(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)]


def _failures(plain: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{one['name']}: {one['reason']}" for one in plain.get("cells", ()) if one["state"] not in WELL)
