"""The record on disk: one line for each step, whatever interrupts the run."""

import json
import math
from pathlib import Path

import pytest

from rl_distill.errors import InputError
from rl_distill.tracking.jsonl_tracker import JsonlTracker, read_metrics


def test_every_step_is_one_flushed_line_of_standard_json(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    tracker = JsonlTracker(path)
    tracker.log("sft", 0, {"loss": 2.5, "batch/tokens": 12})
    tracker.log("redi", 1, {"loss": 1.0})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"stage": "sft", "step": 0, "loss": 2.5, "batch/tokens": 12},
        {"stage": "redi", "step": 1, "loss": 1.0},
    ]


def test_values_that_are_not_finite_come_back_and_leave_the_file_standard_json(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path)
    tracker.log("grpo", 0, {"loss": math.nan, "gradient/norm": math.inf, "reward/mean": -math.inf})

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is not standard JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    (row,) = read_metrics(path)
    assert math.isnan(row["loss"]) and row["gradient/norm"] == math.inf and row["reward/mean"] == -math.inf


def test_truncating_to_a_stored_position_leaves_one_line_per_step_after_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = JsonlTracker(path)
    for step in range(3):
        first.log("grpo", step, {"loss": float(step)})
    position = first.position()
    for step in range(3, 5):
        first.log("grpo", step, {"loss": -1.0})
    first.close()

    resumed = JsonlTracker(path)
    resumed.truncate(position)
    assert resumed.position() == position
    for step in range(3, 6):
        resumed.log("grpo", step, {"loss": float(step)})
    assert [(row["step"], row["loss"]) for row in read_metrics(path)] == [(step, float(step)) for step in range(6)]


def test_truncating_to_the_beginning_empties_the_file(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path / "metrics.jsonl")
    tracker.log("sft", 0, {"loss": 1.0})
    tracker.truncate(0)
    assert tracker.position() == 0 and read_metrics(tracker.path) == []


@pytest.mark.parametrize("cut", [1, 20, 100_000])
def test_a_last_line_cut_in_half_by_a_kill_is_dropped_and_no_other(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = b'{"stage": "sft", "step": 0, "loss": 1.0}\n'
    path.write_bytes(whole + b'{"stage": "sft", "step": 1, "loss": 0.'.ljust(100_001, b"5")[:cut])
    assert [row["step"] for row in read_metrics(path)] == [0]
    tracker = JsonlTracker(path)
    assert tracker.position() == len(whole)
    tracker.log("sft", 1, {"loss": 0.5})
    assert [row["step"] for row in read_metrics(path)] == [0, 1]


@pytest.mark.parametrize("offset", [5, 10_000])
def test_a_position_where_no_line_begins_is_refused_and_nothing_is_lost(tmp_path: Path, offset: int) -> None:
    tracker = JsonlTracker(tmp_path / "metrics.jsonl")
    tracker.log("sft", 0, {"loss": 1.0})
    size = tracker.position()
    with pytest.raises(InputError, match=f"byte {offset} of {size}"):
        tracker.truncate(offset)
    assert tracker.position() == size


def test_a_metric_may_not_hide_the_stage_or_the_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'step'"):
        JsonlTracker(tmp_path / "metrics.jsonl").log("sft", 0, {"step": 3.0})


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, no folder")
    with pytest.raises(InputError, match="cannot be written"):
        JsonlTracker(tmp_path / "taken" / "metrics.jsonl")


@pytest.mark.parametrize("line", ["not json", "[1, 2]", '{"loss": 1.0}', '{"stage": "sft", "step": 0, "loss": "much"}'])
def test_reading_names_the_line_that_is_no_line_of_metrics(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"stage": "sft", "step": 0, "loss": 1.0}\n' + line + "\n")
    with pytest.raises(InputError, match="metrics.jsonl:2"):
        read_metrics(path)
