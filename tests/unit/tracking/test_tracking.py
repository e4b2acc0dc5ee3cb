"""The trackers of a run as one."""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from rl_distill.config import dump, parse
from rl_distill.errors import InputError
from rl_distill.tracking import METRICS_FILE, TRACKERS, RunIdentity, Trackers, Tracking, Wandb, open_trackers, read_metrics
from rl_distill.tracking.console_tracker import ConsoleTracker
from rl_distill.tracking.jsonl_tracker import JsonlTracker


def identity(folder: Path) -> RunIdentity:
    return RunIdentity(folder=folder, name="small", id="abc123", stages={"sft": 2}, resolved={"seed": 0})


class Failing:
    """A tracker whose service is gone."""

    def __init__(self) -> None:
        self.calls = 0

    def begin(self, stage: str, steps: int | None) -> None:
        self.fail()

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self.fail()

    def alert(self, stage: str, step: int, name: str, text: str) -> None:
        self.fail()

    def artifact(self, path: Path, kind: str, name: str) -> None:
        self.fail()

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.fail()

    def close(self, failed: bool = False) -> None:
        self.fail()

    def fail(self) -> None:
        self.calls += 1
        raise ConnectionError("gone\nfor good")


ACTIONS: dict[str, Callable[[Trackers], None]] = {
    "begin": lambda trackers: trackers.begin("sft", 2),
    "log": lambda trackers: trackers.log("sft", 0, {"loss": 1.0}),
    "alert": lambda trackers: trackers.alert("sft", 0, "collapse", "it fell"),
    "artifact": lambda trackers: trackers.artifact(Path("final"), "model", "final"),
    "table": lambda trackers: trackers.table(0, "rollouts/sft", ["prompt"], [["1+1?"]]),
    "close": lambda trackers: trackers.close(),
}


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


@pytest.mark.parametrize("action", ACTIONS)
def test_a_tracker_that_fails_is_reported_once_and_left_out_and_the_others_go_on(tmp_path: Path, action: str) -> None:
    said: list[str] = []
    failing, stream = Failing(), io.StringIO()
    with Trackers(JsonlTracker(tmp_path / "metrics.jsonl"), said.append) as trackers:
        trackers.add("wandb", failing)
        trackers.add("console", ConsoleTracker({"sft": 2}, stream=stream))
        ACTIONS[action](trackers)
        if action != "close":
            for step in range(2):
                trackers.log("sft", step, {"loss": 1.0})
            assert len(read_metrics(tmp_path / "metrics.jsonl")) == (3 if action == "log" else 2)
            assert "step 2/2" in stream.getvalue()
    problem = "ConnectionError: gone for good"
    assert said == [f"warning: tracking.wandb failed ({problem}); the run goes on without it, and metrics.jsonl is complete"]
    assert failing.calls == 2  # what failed, and being closed


def test_what_the_record_raises_ends_the_run(tmp_path: Path) -> None:
    trackers = Trackers(JsonlTracker(tmp_path / "metrics.jsonl"))
    trackers.record.close()
    with pytest.raises(ValueError, match="closed"):
        trackers.log("sft", 0, {"loss": 1.0})


def test_an_interruption_is_not_taken_for_a_failing_tracker(tmp_path: Path) -> None:
    class Interrupting(Failing):
        def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
            raise KeyboardInterrupt

    trackers = Trackers(JsonlTracker(tmp_path / "metrics.jsonl"))
    trackers.add("wandb", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        trackers.log("sft", 0, {"loss": 1.0})


@pytest.mark.parametrize("failure", [None, RuntimeError, KeyboardInterrupt])
def test_trackers_hear_whether_the_run_came_to_its_end(tmp_path: Path, failure: type[BaseException] | None) -> None:
    class Listening(JsonlTracker):
        def close(self, failed: bool = False) -> None:
            heard.append(failed)

    heard: list[bool] = []
    with suppress(RuntimeError, KeyboardInterrupt), Trackers(JsonlTracker(tmp_path / "metrics.jsonl")) as trackers:
        trackers.add("wandb", Listening(tmp_path / "other.jsonl"))
        if failure:
            raise failure
    assert heard == [failure is not None]
    with pytest.raises(ValueError, match="closed"):
        trackers.record.log("sft", 0, {"loss": 1.0})


def test_a_tracker_that_cannot_start_closes_those_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wandb").write_text("a file, no folder")
    with pytest.raises(InputError, match="tracking.wandb"):
        open_trackers(Tracking(wandb=Wandb(mode="offline")), identity(tmp_path))
    assert capsys.readouterr() == ("", "")
