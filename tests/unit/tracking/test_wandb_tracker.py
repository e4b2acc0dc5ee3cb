"""Weights & Biases for real, in its offline mode: what was logged stands in the file that it would upload."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rl_distill.errors import InputError
from rl_distill.tracking.wandb_tracker import Wandb, WandbTracker

wandb = pytest.importorskip("wandb")

HEADER, BLOCK = 7, 32768
FULL, LAST = 1, 4


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))


def payloads(content: bytes) -> Iterator[bytes]:
    """Records of a LevelDB log: a header, then blocks of [crc 4][length 2][type 1][payload]; a record may span blocks."""
    position, parts = HEADER, []
    while position + HEADER <= len(content):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        parts.append(content[position + HEADER : position + HEADER + length])
        position += HEADER + length
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []


def records(folder: Path) -> list[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return [Record.FromString(payload) for payload in payloads(file.read_bytes())]


def finished(tracker: WandbTracker) -> None:
    """Close, and wait for wandb's own process, which flushes its file a moment after a run has finished."""
    tracker.close()
    wandb.teardown()


def history(folder: Path) -> list[dict[str, Any]]:
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records(folder)
        if record.WhichOneof("record_type") == "history"
    ]


def offline(folder: Path, **keys: Any) -> WandbTracker:
    settings = Wandb(project="small", mode="offline", **keys)
    return WandbTracker(settings, folder=folder, name="redi-seed1", run_id="abc123", resolved={"student": {"layers": 2}})


def test_offline_files_hold_the_metrics_by_step_and_stage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracker = offline(tmp_path / "run")
    for step in range(3):
        tracker.log("sft", step, {"loss": 2.0 - step, "reward/mean": step / 2})
    tracker.log("sft", 2, {"evaluation/accuracy": 0.5})
    tracker.table(2, "samples", ["prompt", "response"], [["1+1?", "2"]])
    finished(tracker)
    rows = history(tmp_path / "run")
    assert [(row["_step"], row["stage"], row["loss"], row["reward/mean"]) for row in rows] == [
        (0, "sft", 2.0, 0.0),
        (1, "sft", 1.0, 0.5),
        (2, "sft", 0.0, 1.0),
    ]
    assert rows[2]["evaluation/accuracy"] == 0.5
    (table,) = (tmp_path / "run").glob("wandb/offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [["1+1?", "2"]]
    assert capfd.readouterr().out == ""


def test_steps_of_a_later_stage_go_on_where_the_run_is(tmp_path: Path) -> None:
    tracker = offline(tmp_path / "run")
    tracker.log("sft", 0, {"loss": 1.0, "run/step": 0.0})
    tracker.log("redi", 0, {"loss": 2.0, "run/step": 1.0})
    finished(tracker)
    assert [(row["_step"], row["stage"]) for row in history(tmp_path / "run")] == [(0, "sft"), (1, "redi")]


def test_offline_files_hold_identity_group_tags_and_the_recipe(tmp_path: Path) -> None:
    finished(offline(tmp_path / "run", group="redi", tags=("debug", "cpu")))
    (run,) = [record.run for record in records(tmp_path / "run") if record.WhichOneof("record_type") == "run"]
    assert (run.project, run.run_group, run.display_name, run.run_id) == ("small", "redi", "redi-seed1", "abc123")
    assert sorted(run.tags) == ["cpu", "debug"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["student"] == {"layers": 2}


def test_a_resumed_run_keeps_its_identity(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        tracker = offline(tmp_path / folder)
        tracker.log("sft", 0 if folder == "first" else 1, {"loss": 1.0})
        finished(tracker)
    ids = {next(tmp_path.glob(f"{folder}/wandb/offline-run-*/run-*.wandb")).name for folder in ("first", "second")}
    assert ids == {"run-abc123.wandb"}


def test_an_artifact_is_recorded_and_not_copied_to_another_folder(tmp_path: Path) -> None:
    report = tmp_path / "run" / "report.html"
    report.parent.mkdir()
    report.write_text("<p>seven</p>" * 1000)
    tracker = offline(tmp_path / "run")
    tracker.artifact(report, "report", "redi-report")
    finished(tracker)
    names = [record.artifact.name for record in records(tmp_path / "run") if record.WhichOneof("record_type") == "artifact"]
    assert names == ["redi-report"]
    assert not [
        file for file in tmp_path.rglob("*") if file.is_file() and file != report and b"<p>seven</p>" in file.read_bytes()
    ]


def test_a_missing_package_names_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install rl_distill\[wandb\]"):
        offline(tmp_path)


def test_a_run_folder_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, no folder")
    with pytest.raises(InputError, match="cannot be written"):
        offline(tmp_path / "taken")
