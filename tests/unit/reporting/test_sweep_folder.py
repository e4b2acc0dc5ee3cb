"""Reports of sweeps: what their folders say of cells that were stopped, failed, belong to an earlier plan, or are newer."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
from report_data import held
from reported_runs import reported_run

from rl_distill.reporting.run_report import report

STOP = "alarm collapse stopped stage 'redi' after step 3: log-probs fell"


class SweepFiles:
    """A sweep's folder, each file written later than those before it."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, 1_700_000_000

    def write(self, name: str, text: str = "") -> None:
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        self.touch(place)

    def touch(self, place: Path) -> None:
        self.now += 10
        os.utime(place, (self.now, self.now))

    def begin(self, *open_cells: str) -> None:
        self.write("sweep.yaml", "name: tried\n")
        for name in open_cells:
            self.write(f"orders/{name}.json", "{}")

    def cell(self, name: str, state: str, reason: str = "") -> Path:
        folder = self.path / "cells" / name
        if not folder.exists():
            reported_run(folder, finished=state == "done")
        if state == "done":
            self.touch(folder / "summary.json")
        self.write(f"accounts/{name}.json", json.dumps({"state": state, "reason": reason}))
        return folder

    def end(self, **states: tuple[str, str]) -> None:
        self.write("table.csv", "cell,accuracy\na,0.5\n")
        cells = [{"name": name, "state": state, "reason": reason} for name, (state, reason) in states.items()]
        self.write("sweep.json", json.dumps({"cells": cells}))


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFiles:
    return SweepFiles(tmp_path / "sweep")


def told(sweep: SweepFiles) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """(its runs by label; the sweep; what the command prints as left out)."""
    found = report(sweep.path, sweep.path / "report.html")
    head = held(found.path)["head"]
    return {run["label"]: run for run in head["runs"]}, head["sweeps"][0], found.notes


def test_a_sweep_at_its_end_has_nothing_to_warn_of(sweep: SweepFiles) -> None:
    sweep.begin("a-0", "a-1")
    sweep.cell("a-0", "done")
    sweep.cell("a-1", "done")
    sweep.end(**{"a-0": ("done", ""), "a-1": ("done", "")})
    runs, found, notes = told(sweep)
    assert list(runs) == ["a-0", "a-1"] and notes == () and found["warnings"] == found["failures"] == []


def test_a_cell_that_an_alarm_stopped_is_not_said_to_go_on(sweep: SweepFiles) -> None:
    sweep.begin("a-0")
    folder = sweep.cell("a-0", "stopped", STOP)
    sweep.end(**{"a-0": ("stopped", STOP)})
    runs, found, _ = told(sweep)
    assert (runs["a-0"]["state"], found["failures"]) == ("stopped", [])
    assert STOP in runs["a-0"]["words"] and "continues" not in runs["a-0"]["words"]
    alone = held(report(folder, sweep.path / "alone.html").path)["head"]["runs"][0]
    assert STOP in alone["words"], "given by its own folder too"


def test_a_killed_sweep_tells_the_failures_of_its_accounts_and_none_that_it_has_begun_again(sweep: SweepFiles) -> None:
    sweep.begin("a-0", "b-0", "c-0")
    sweep.cell("a-0", "failed", "out of memory")
    sweep.cell("b-0", "failed", "disk full")
    sweep.end(**{"a-0": ("failed", "out of memory"), "b-0": ("failed", "disk full"), "c-0": ("unfinished", "not begun")})
    sweep.begin("a-0", "b-0", "c-0")
    sweep.cell("b-0", "failed", "disk full again")
    at_work = sweep.cell("c-0", "unfinished", "its process has gone")
    with (at_work / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runs, found, notes = told(sweep)
    assert found["failures"] == ["b-0: disk full again"], "a-0 waits for its turn, c-0 is at work"
    assert runs["b-0"]["words"] == "failed: disk full again" and runs["c-0"]["state"] == "alive"
    (warning,) = found["warnings"]
    assert "older than the sweep's newest start" in warning and any(warning in note for note in notes)


def test_an_account_that_is_newer_than_the_results_is_believed(sweep: SweepFiles) -> None:
    sweep.begin("a-0")
    sweep.end(**{"a-0": ("failed", "out of memory")})
    sweep.cell("a-0", "done")
    _, found, _ = told(sweep)
    assert found["failures"] == [] and "older than 1 of its cells (a-0)" in found["warnings"][0]


def test_cells_of_an_earlier_plan_are_left_out_and_named(sweep: SweepFiles) -> None:
    sweep.begin("a-0", "old-0")
    sweep.cell("old-0", "failed", "out of memory")
    sweep.cell("a-0", "done")
    sweep.begin("a-0")
    sweep.end(**{"a-0": ("done", "")})
    runs, found, notes = told(sweep)
    assert list(runs) == ["a-0"] and found["failures"] == []
    assert any("1 of its cells (old-0) of an earlier plan" in note for note in notes)


def test_before_its_end_nobody_knows_whose_plan_a_finished_cell_is_of_and_the_report_says_so(sweep: SweepFiles) -> None:
    sweep.begin("a-0", "b-0")
    sweep.cell("a-0", "done")
    sweep.begin("b-0")
    sweep.cell("b-0", "done")
    runs, found, _ = told(sweep)
    assert list(runs) == ["a-0", "b-0"]
    assert found["warnings"] == [
        "the sweep's newest start did not begin 1 of its cells (a-0): done before, or of an earlier plan"
    ]


def test_a_damaged_account_says_nothing(sweep: SweepFiles) -> None:
    sweep.begin("a-0")
    sweep.cell("a-0", "done")
    sweep.write("accounts/a-0.json", "[")
    assert told(sweep)[0]["a-0"]["state"] == "finished"


def test_a_failed_cell_whose_folder_cannot_be_read_is_a_failure_still(sweep: SweepFiles) -> None:
    sweep.begin("a-0")
    (sweep.cell("a-0", "failed", "disk full") / ".lock").mkdir()
    sweep.end(**{"a-0": ("failed", "disk full")})
    runs, found, _ = told(sweep)
    assert found["failures"] == ["a-0: disk full"] and runs["a-0"]["state"] == "unknown"
