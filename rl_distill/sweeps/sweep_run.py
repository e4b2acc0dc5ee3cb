"""A sweep from its file to its table. Everything that is done lies in the cells' run folders, so the same command goes on.

file ──► cells, each a checked recipe ──► stages in common ──► Ray Tune: a process a cell ──► run folders ──► table
"""

import fcntl
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml

from rl_distill.cluster.installation import installed
from rl_distill.config import dump
from rl_distill.errors import InputError
from rl_distill.models.loading import load_settings
from rl_distill.sealing import clear_leftovers
from rl_distill.sweeps.cell_process import Order
from rl_distill.sweeps.cells import Cells, cells_of
from rl_distill.sweeps.plan import PlannedCell, plan, plan_lines
from rl_distill.sweeps.ray_cells import check_gpus
from rl_distill.sweeps.results import CellResult, cell_result, result_data, rows_of
from rl_distill.sweeps.settings import Sweep, Values, read_sweep_file
from rl_distill.sweeps.sweep_table import COLUMNS, SCHEMA, as_csv, as_latex, as_markdown, row_data, table_cells
from rl_distill.sweeps.wandb_table import log_table
from rl_distill.training.fingerprint import given_models
from rl_distill.training.interruption import graceful_stop

Say = Callable[[str], None]
LONGEST_TAG = 64  # characters, of Weights & Biases


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOutcome:
    """
    table       in Markdown
    files       of the table
    unfinished  cells that are neither done nor stopped by an alarm, with the reason
    """

    folder: Path
    table: str
    files: tuple[Path, ...]
    unfinished: tuple[str, ...]

    def _repr_markdown_(self) -> str:
        return "\n\n".join([self.table, *self.unfinished])


def dry_run(path: Path, overrides: Sequence[str], say: Say) -> None:
    """Check every cell, and say what would be run.

    Raises:
        InputError: as `run_sweep`.
    """
    sweep = read_sweep_file(path, overrides)
    cells = cells_of(sweep, path, _draws(sweep))
    for line in plan_lines(cells, plan(sweep.path, cells.cells, gpu=_on_gpu(sweep))):
        say(line)


def run_sweep(path: str | Path, overrides: Sequence[str] = (), *, address: str | None = None, say: Say = print) -> SweepOutcome:
    """Run the cells that are not done, and write the table of all.

    Args:
        path: of the sweep's YAML file.
        address: HOST:PORT of a running Ray cluster, or auto; none takes this machine.

    Raises:
        InputError: the file is wrong, or one of its cells; nothing was run.
    """
    _check_library()
    path = Path(path).expanduser()
    sweep = read_sweep_file(path, overrides)
    cells = cells_of(sweep, path, _draws(sweep))
    _fetch_settings(cells)
    planned = plan(sweep.path, cells.cells, gpu=_on_gpu(sweep, address))
    for note in cells.notes:
        say(note)
    with _held(sweep.path):
        (sweep.path / "sweep.yaml").write_text(yaml.safe_dump(dump(sweep), sort_keys=False))
        command = ["rl-distill", "sweep", str(path), *overrides, *(["--address", address] if address else [])]
        open_cells = [one for one in planned if one.ended().state not in ("done", "stopped")]
        if len(open_cells) < len(planned):
            say(f"{len(planned) - len(open_cells)} of {len(planned)} cells are done")
        if open_cells:
            _run(sweep, open_cells, command, address, say)
        return _written(sweep, cells, [cell_result(one) for one in planned], say)


def _run(sweep: Sweep, planned: Sequence[PlannedCell], command: list[str], address: str | None, say: Say) -> None:
    from rl_distill.cluster.job_trials import Held, Job, JobTrials

    threads, by_name = max(1, int(sweep.cpus)), {one.cell.name: one for one in planned}
    jobs = []
    for one in planned:
        shared = [str(entry.resolve()) for entry in one.shared]
        order = Order.of(one.cell.recipe, shared=shared, account=one.account, threads=threads, command=command)
        order.write(one.order)
        call = (sys.executable, "-m", "rl_distill.sweeps.cell_process", str(one.order.resolve()))
        makes = tuple(str(folder.resolve()) for folder in one.makes)
        log = str(one.log.resolve())
        jobs.append(Job(name=one.cell.name, command=call, folder=str(Path.cwd()), log=log, makes=makes))
    ended: list[str] = []

    def tell(name: str) -> None:
        ended.append(name)
        say(f"[{len(ended)}/{len(jobs)}] {name}: {_said(cell_result(by_name[name]))}")

    with graceful_stop() as stop:
        trials = JobTrials(address, Held(cpus=sweep.cpus, gpus=sweep.gpus), sweep.path)
        try:
            _check_gpus(sweep, planned, trials.held.gpus or 0.0, address)
            trials.run(
                jobs,
                begun=lambda name: say(f"{name}: begun, log {by_name[name].log}"),
                ended=tell,
                stop=lambda: stop.signal_name is not None,
            )
        finally:
            trials.close()


def _said(result: CellResult) -> str:
    if result.accuracy is None:
        return f"{result.account.state}: {result.account.reason}"
    return f"accuracy {result.accuracy:.3f}" + (f", alarms: {', '.join(result.alarms)}" if result.alarms else "")


def _written(sweep: Sweep, cells: Cells, results: Sequence[CellResult], say: Say) -> SweepOutcome:
    rows = rows_of(results, cells.baseline)
    table = as_markdown(rows, cells.baseline, seeds=len(sweep.seeds))
    data = {
        "schema": SCHEMA,
        "name": sweep.name,
        "baseline": cells.baseline,
        "rows": [row_data(row) for row in rows],
        "cells": [result_data(result) for result in results],
        "left_out": dict(cells.same),
    }
    texts = {
        "table.md": table + "\n",
        "table.csv": as_csv(rows),
        "table.tex": as_latex(rows, cells.baseline),
        "sweep.json": json.dumps(data, indent=1) + "\n",
    }
    for name, text in texts.items():
        (sweep.path / name).write_text(text, encoding="utf-8")
    wandb = next((cell.recipe.tracking.wandb for cell in cells.cells if cell.recipe.tracking.wandb), None)
    if wandb is not None:
        shown = replace(wandb, tags=(sweep.name[:LONGEST_TAG],))
        lines = [table_cells(row) for row in rows]
        log_table(shown, folder=sweep.path, name=sweep.name, resolved=dump(sweep), columns=COLUMNS, rows=lines, say=say)
    bad = [one for one in results if one.account.state not in ("done", "stopped")]
    return SweepOutcome(
        folder=sweep.path,
        table=table,
        files=tuple(sweep.path / name for name in texts),
        unfinished=tuple(f"{one.planned.cell.name} {one.account.state}: {one.account.reason}" for one in bad),
    )


def _draws(sweep: Sweep) -> list[Values]:
    if sweep.random is None:
        return []
    _check_library()
    from rl_distill.cluster.job_trials import drawn

    search = sweep.random
    kinds = {key: {kind: given for kind, given in dump(how).items() if given is not None} for key, how in search.keys.items()}
    return list(drawn(kinds, count=search.cells, seed=search.seed))


def _on_gpu(sweep: Sweep, address: str | None = None) -> bool:
    """Whether cells compute on one; with an address they do so where nobody looks yet, and `gpus` says it."""
    if address is not None and sweep.gpus is not None:
        return sweep.gpus > 0
    return sweep.gpus != 0 and torch.cuda.is_available()


def _check_gpus(sweep: Sweep, planned: Sequence[PlannedCell], held: float, address: str | None) -> None:
    """Before the first cell begins, and as soon as the cluster is known."""
    if address is not None and sweep.gpus is None and (held > 0) != torch.cuda.is_available():
        where, elsewhere = ("the cluster", "this machine") if held else ("this machine", "the cluster")
        problem = f"is not said, and {where} has some while {elsewhere} has none"
        raise InputError("gpus", problem, "set it to what each cell holds on the cluster, 0 or more")
    check_gpus((one.cell.recipe for one in planned), held)


def _fetch_settings(cells: Cells) -> None:
    """Of models of the hub, so that the first cell finds no other revision of them than the sweep was planned with."""
    models = {(key, model) for cell in cells.cells for key, model in given_models(cell.recipe)}
    for key, model in sorted(models):
        if not Path(model).expanduser().is_dir():
            with suppress(InputError):  # a cell that loads it says what is wrong; one that is done needs none
                load_settings(model, field=key)


def _check_library() -> None:
    for name in ("ray", "pandas"):
        if installed(name) is None:
            raise InputError("sweep", f"runs on Ray Tune, and {name} is not installed", "run pip install 'rl_distill[cluster]'")


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """One process works on a sweep at a time."""
    try:
        (folder / "shared").mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    except OSError as error:
        problem = f"{str(folder)!r} cannot be written ({error.strerror})"
        raise InputError("folder", problem, "choose another with folder=PATH") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = f"{str(folder)!r} is in use by another rl-distill sweep"
            raise InputError("folder", problem, "wait for it, or choose another with folder=PATH") from None
        clear_leftovers(folder / "shared")
        for scratch in folder.glob(".tune-*"):
            shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
        yield
