"""What a sweep's folder says beside the runs of its cells: its table, which cells are of its plan, and what became of each.

sweep.yaml     written when its command is given
orders/        of the cells that were open then, all at once
accounts/      how each cell ended: written by its own process, so they are the newest word of a sweep at work or killed
sweep.json     at the end, with table.csv: every cell of the plan
"""

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rl_distill.reporting.notes import readable
from rl_distill.training.status import run_state

TABLE, SWEEP, SETTINGS = "table.csv", "sweep.json", "sweep.yaml"
CELLS, ORDERS, ACCOUNTS = "cells", "orders", "accounts"
WELL = ("done", "stopped")  # states of a cell that did not fail
MAX_NAMED = 5


class Ending(NamedTuple):
    """`state` is done, stopped (by an alarm), failed or unfinished."""

    state: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFolder:
    """A sweep's own results, as its folder holds them: `header` and `rows` are text.

    cells     run folders of those that have begun and are of its plan, as far as that is known
    warnings  what a reader of the table has to know
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    cells: tuple[Path, ...]


def is_sweep(path: Path) -> bool:
    """Its cells are there from the first one on, its results at the end."""
    return (path / SWEEP).is_file() or (path / CELLS).is_dir()


def read_sweep(path: Path, notes: list[str]) -> SweepFolder:
    """What cannot be read of it, and what is left out, goes to `notes`."""
    told = readable(notes, str(path / SWEEP), {}, _told, path / SWEEP) if (path / SWEEP).is_file() else {}
    rows = readable(notes, str(path), [], _rows, path / TABLE) if (path / TABLE).is_file() else []
    header, *others = rows or [()]
    begun = {one.parent.name: one.parent for one in sorted(path.glob(f"{CELLS}/*/recipe.yaml"))}
    if told and not _older(path / SWEEP, path / SETTINGS):
        plan: Collection[str] = told
        earlier = [name for name in begun if name not in told]
        if earlier:
            notes.append(f"{path}: {_named(earlier)} of an earlier plan of this sweep; give their folders to see them")
        failures = _failures(path, {name: _newest(path, name, told) for name in told})
    else:
        plan = begun
        failures = _failures(path, {name: _account(path, name) for name in _open_cells(path)})
    cells = tuple(folder for name, folder in begun.items() if name in plan)
    warnings = tuple(_warnings(path, cells))
    notes += [f"{path}: {warning}" for warning in warnings]
    return SweepFolder(path=path, header=header, rows=tuple(others), failures=failures, warnings=warnings, cells=cells)


def ending_of(run: Path) -> Ending | None:
    """How the cell ended whose run folder this is, as its process said; None of a run that is no cell, or has not said it."""
    return _account(run.parent.parent, run.name) if run.parent.name == CELLS else None


def _newest(path: Path, name: str, told: Mapping[str, Ending]) -> Ending:
    """The results at the end check what accounts say, and accounts may be newer."""
    account = path / ACCOUNTS / f"{name}.json"
    return (_account(path, name) if _older(path / SWEEP, account) else None) or told[name]


def _open_cells(path: Path) -> Iterator[str]:
    """Those that the newest command had still to do, and whose process has said something since."""
    for account in sorted(path.glob(f"{ACCOUNTS}/*.json")):
        order = path / ORDERS / account.name
        if not (_older(order, path / SETTINGS) or _older(account, order)):
            yield account.stem


def _failures(path: Path, endings: Mapping[str, Ending | None]) -> tuple[str, ...]:
    bad = {name: ending for name, ending in endings.items() if ending is not None and ending.state not in WELL}
    return tuple(f"{name}: {ending.reason}" for name, ending in bad.items() if not _at_work(path / CELLS / name))


def _at_work(run: Path) -> bool:
    """Its account says already what holds if nobody comes to write another."""
    try:
        return run_state(run).kind == "alive"
    except OSError:  # its own row says so
        return False


def _warnings(path: Path, cells: Sequence[Path]) -> Iterator[str]:
    table = path / TABLE
    if _older(table, path / SETTINGS):
        yield "the table is older than the sweep's newest start: the sweep is at work, or was cut short before its end"
    elif table.is_file() and (newer := [cell.name for cell in cells if _is_newer(cell, path, table)]):
        yield f"the table is older than {_named(newer)}: give the sweep's command again to have it made anew"
    if not (path / SWEEP).is_file() or _older(path / SWEEP, path / SETTINGS):
        before = [cell.name for cell in cells if _older(path / ORDERS / f"{cell.name}.json", path / SETTINGS)]
        if before:
            yield f"the sweep's newest start did not begin {_named(before)}: done before, or of an earlier plan"


def _is_newer(cell: Path, path: Path, table: Path) -> bool:
    return any(_older(table, one) for one in (cell / "summary.json", path / ACCOUNTS / f"{cell.name}.json"))


def _older(one: Path, other: Path) -> bool:
    """Whether one file was written before another; never where one of them is not there."""
    try:
        return one.stat().st_mtime_ns < other.stat().st_mtime_ns
    except OSError:
        return False


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{len(names)} of its cells ({', '.join(names[:MAX_NAMED])}{more})"


def _account(path: Path, name: str) -> Ending | None:
    try:
        plain = json.loads((path / ACCOUNTS / f"{name}.json").read_text(encoding="utf-8"))
        return Ending(str(plain["state"]), str(plain["reason"]))
    except (OSError, ValueError, KeyError, TypeError):  # as a sweep does: such a cell has said nothing
        return None


def _told(path: Path) -> dict[str, Ending]:
    plain: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    return {str(one["name"]): Ending(str(one["state"]), str(one["reason"])) for one in plain.get("cells", ())}


def _rows(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)]
