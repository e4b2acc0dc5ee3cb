"""The trackers of a run as one."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from rl_distill.config import dump, parse
from rl_distill.errors import InputError
from rl_distill.tracking import METRICS_FILE, TRACKERS, RunIdentity, Trackers, Tracking, Wandb, open_trackers, read_metrics
from rl_distill.tracking.jsonl_tracker import JsonlTracker


def identity(folder: Path) -> RunIdentity:
    return RunIdentity(folder=folder, name="small", id="abc123", stages={"sft": 2}, resolved={"seed": 0})


class Failing(JsonlTracker):
    """A tracker whose service is gone."""

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        raise ConnectionError("gone")

    def close(self) -> None:
        super().close()
        raise ConnectionError("still gone")


def test_every_tracker_has_its_key_in_the_configuration() -> None:
    assert set(TRACKERS) <= {field.name for field in fields(Tracking)}


def test_the_configuration_survives_writing_and_reading() -> None:
    tracking = Tracking(console="plain", wandb=Wandb(project="p", group="g", tags=("a", "b"), mode="offline"))
    assert parse(Tracking, dump(tracking)) == tracking


def test_a_misspelt_key_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"wandb.projct: .*project"):
        parse(Tracking, {"wandb": {"projct": "p"}})


def test_metrics_reach_the_record_and_the_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trackers = open_trackers(Tracking(console="plain"), identity(tmp_path))
    trackers.log("sft", 0, {"loss": 1.5})
    trackers.close()
    assert read_metrics(tmp_path / METRICS_FILE) == [{"stage": "sft", "step": 0, "loss": 1.5}]
    assert capsys.readouterr().out == "[1/1] sft  step 1/2  loss 1.5\n"


def test_a_console_that_is_off_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trackers = open_trackers(Tracking(console="quiet"), identity(tmp_path))
    trackers.log("sft", 0, {"loss": 1.5})
    trackers.close()
    assert capsys.readouterr().out == ""


def test_the_record_is_complete_even_if_another_tracker_fails(tmp_path: Path) -> None:
    trackers = Trackers(JsonlTracker(tmp_path / "a.jsonl"), Failing(tmp_path / "b.jsonl"))
    with pytest.raises(ConnectionError):
        trackers.log("sft", 0, {"loss": 1.0})
    assert json.loads((tmp_path / "a.jsonl").read_text())["loss"] == 1.0


def test_closing_closes_all_and_still_tells_of_a_failure(tmp_path: Path) -> None:
    last = JsonlTracker(tmp_path / "c.jsonl")
    trackers = Trackers(JsonlTracker(tmp_path / "a.jsonl"), Failing(tmp_path / "b.jsonl"), last)
    with pytest.raises(ConnectionError, match="still gone"):
        trackers.close()
    for tracker in (trackers.record, last):
        with pytest.raises(ValueError, match="closed"):
            tracker.log("sft", 0, {"loss": 1.0})
