"""Weights & Biases for real, in its offline mode: what was logged stands in the file that it would upload."""

import math
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_file import WandbFile, service_of, written

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.tracking.wandb_tracker import Wandb, WandbTracker

wandb = pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    for name in ("WANDB_DATA_DIR", "WANDB_MODE", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield
    wandb.teardown()


def offline(folder: Path, resolved: dict[str, Any] | None = None, **keys: Any) -> WandbTracker:
    settings = Wandb(**{"project": "small", "mode": "offline"} | keys)
    resolved = resolved or {"student": {"layers": 2}}
    return WandbTracker(settings, folder=folder, name="redi-seed1", run_id="abc123", resolved=resolved, say=lambda line: None)


def finished(tracker: WandbTracker, folder: Path, **how: Any) -> WandbFile:
    """Close, and wait for wandb's own process, which flushes its file a moment after a run has finished."""
    tracker.close(**how)
    wandb.teardown()
    return written(folder)[-1]


def readable(row: dict[str, Any]) -> dict[str, str]:
    """Values that can be compared, NaN too."""
    return {name: value if name == "stage" else repr(float(value)) for name, value in row.items()}


def test_metrics_stand_in_the_file_by_run_step_and_stage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracker = offline(tmp_path)
    rows = [
        ("sft", 0, {"loss": 2.0, "run/step": 0.0}),
        ("sft", 1, {"loss": math.nan, "gradient/norm": math.inf, "run/step": 1.0}),
        ("redi", 0, {"loss": 0.1, "evaluation/accuracy": 1 / 3, "run/step": 2.0}),
    ]
    for row in rows:
        tracker.log(*row)
    found = finished(tracker, tmp_path)
    assert [readable(row) for row in found.metrics] == [readable({"stage": stage, **metrics}) for stage, _, metrics in rows]
    defined = {metric.name or metric.glob_name: metric for metric in found.of("metric")}
    assert {metric.step_metric for metric in defined.values()} == {"run/step"} and "*" in defined
    assert defined["evaluation/accuracy"].summary.max and defined["evaluation/accuracy"].summary.last
    assert capfd.readouterr() == ("", "")


def test_a_step_that_is_done_again_is_not_dropped(tmp_path: Path) -> None:
    tracker = offline(tmp_path)
    for step in (0, 1, 2, 1, 2):
        tracker.log("sft", step, {"loss": 1.0, "run/step": float(step)})
    assert [row["run/step"] for row in finished(tracker, tmp_path).metrics] == [0, 1, 2, 1, 2]


def test_every_table_of_one_name_is_kept_with_its_step(tmp_path: Path) -> None:
    tracker = offline(tmp_path)
    columns = ["prompt", "reward", "verdict"]
    tables = {0: [["1+1?", None, "unverifiable"], ["2+2?", 1.0, None]], 5: [["1+1?", 1, "correct"]]}
    for step, rows in tables.items():
        tracker.log("sft", step, {"loss": 1.0, "run/step": float(step)})
        tracker.table(step, "rollouts/sft", columns, rows)
    found = finished(tracker, tmp_path)
    assert found.tables("rollouts/sft") == [(step, columns, rows) for step, rows in tables.items()]
    assert len(found.metrics) == 2  # a table is no further row of metrics


def test_what_waits_for_its_upload_lies_in_the_run_folder_and_not_in_the_home(tmp_path: Path) -> None:
    tracker = offline(tmp_path / "run")
    tracker.table(0, "rollouts/sft", ["prompt"], [["1+1?"]])
    found = finished(tracker, tmp_path / "run")
    (artifact,) = found.of("artifact")
    assert Path(artifact.manifest.contents[0].local_path).is_relative_to(tmp_path / "run" / "wandb")
    assert not (tmp_path / "home").exists() and "WANDB_DATA_DIR" not in os.environ


def test_an_alert_is_written_with_its_place(tmp_path: Path) -> None:
    tracker = offline(tmp_path)
    tracker.alert("redi", 40, "collapse", "logprob/chosen fell")
    tracker.alert("a_stage_whose_name_is_longer_than_any_that_a_person_would_type", 0, "collapse", "")
    first, long = finished(tracker, tmp_path).of("alert")
    assert (first.title, first.text, first.level) == ("collapse: redi, step 41", "logprob/chosen fell", "WARN")
    assert len(long.title) < 64 and long.title.startswith("collapse: a_stage_")


def test_the_file_holds_identity_group_tags_and_the_recipe(tmp_path: Path) -> None:
    recipe = {"student": {"layers": 2}, "stages": [{"name": "sft", "steps": None}]}
    found = finished(offline(tmp_path, recipe, group="redi", tags=("debug", "cpu")), tmp_path)
    run = found.run
    assert (run.project, run.run_group, run.display_name, run.run_id) == ("small", "redi", "redi-seed1", "abc123")
    assert sorted(run.tags) == ["cpu", "debug"] and run.job_type == "train"
    assert found.config == recipe


def test_a_resumed_run_keeps_its_identity_even_if_its_recipe_has_changed(tmp_path: Path) -> None:
    first = finished(offline(tmp_path, {"run_dir": "a", "stages": [1]}, group="g"), tmp_path)
    second = finished(offline(tmp_path, {"run_dir": "b", "stages": [1, 2]}, group="g"), tmp_path)
    assert first.folder != second.folder
    assert {(file.run.run_id, file.run.run_group, file.run.resume) for file in (first, second)} == {("abc123", "g", True)}
    assert second.config == {"run_dir": "b", "stages": [1, 2]}


def test_a_run_that_the_user_has_open_is_neither_taken_nor_closed(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    quiet = wandb.Settings(silent=True, console="off")
    own = wandb.init(project="own", mode="offline", dir=str(tmp_path / "own"), settings=quiet)
    tracker = offline(tmp_path / "run")
    tracker.log("sft", 0, {"loss": 1.0, "run/step": 0.0})
    tracker.close()
    own.log({"mine": 1})
    own.finish()
    wandb.teardown()
    (ours,), (theirs,) = written(tmp_path / "run"), written(tmp_path / "own")
    assert (ours.run.run_id, ours.run.project, len(ours.rows)) == ("abc123", "small", 1)
    assert theirs.run.project == "own" and "mine" in theirs.rows[0]


@pytest.mark.parametrize("folder", [True, False])
def test_an_artifact_is_recorded_and_not_copied(tmp_path: Path, folder: bool, capfd: pytest.CaptureFixture[str]) -> None:
    content = b"<p>seven</p>" * 1000
    place = tmp_path / "run" / "final"
    (place / "inner").mkdir(parents=True)
    (place / "inner" / "report.html").write_bytes(content)
    tracker = offline(tmp_path / "run")
    tracker.artifact(place if folder else place / "inner" / "report.html", "model", "redi-final")
    (artifact,) = finished(tracker, tmp_path / "run").of("artifact")
    assert (artifact.name, artifact.type) == ("redi-final", "model")
    assert [entry.path for entry in artifact.manifest.contents] == ["inner/report.html" if folder else "report.html"]
    copies = [file for file in tmp_path.rglob("*") if file.is_file() and content in file.read_bytes()]
    assert copies == [place / "inner" / "report.html"] and capfd.readouterr() == ("", "")


def test_a_run_with_a_name_of_its_own_bears_it_and_so_does_its_model(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "weights").write_bytes(b"7")
    names = {}
    for name in ("lr=0.1,a-0", "x" * 150 + "0", "x" * 150 + "1"):
        tracker = offline(tmp_path / name[-4:], name=name)
        tracker.artifact(tmp_path / "final", "model", "redi-seed1-final")
        found = finished(tracker, tmp_path / name[-4:])
        names[found.run.display_name] = found.of("artifact")[0].name
    assert names["lr=0.1,a-0"] == "lr-0.1-a-0-final"
    assert len(names) == len(set(names.values())) == 3 and all(len(one) <= 128 for pair in names.items() for one in pair)


@pytest.mark.parametrize("failed", [False, True])
def test_a_run_that_failed_is_marked_as_failed(tmp_path: Path, failed: bool) -> None:
    (ending,) = finished(offline(tmp_path), tmp_path, failed=failed).of("exit")
    assert ending.exit_code == int(failed)


def test_closing_names_the_command_that_uploads_every_process_of_the_run(tmp_path: Path) -> None:
    lines: list[str] = []
    for _ in range(2):
        folder = tmp_path / "my runs"
        tracker = WandbTracker(Wandb(mode="offline"), folder=folder, name="n", run_id="abc123", resolved={}, say=lines.append)
        tracker.close()
        tracker.close()
    assert lines == [f"wandb: upload with `wandb sync '{tmp_path}/my runs/wandb'`"] * 2


def test_when_its_process_dies_that_is_an_error_and_the_next_run_gets_a_new_one(tmp_path: Path) -> None:
    tracker = offline(tmp_path)
    tracker.log("sft", 0, {"loss": 1.0, "run/step": 0.0})
    service = service_of(os.getpid())
    assert service is not None
    os.kill(service, signal.SIGKILL)
    with pytest.raises(ConnectionError, match=r"wandb's own process is gone \(\w+.*\); upload with `wandb sync "):
        tracker.close()
    again = offline(tmp_path / "next")
    again.log("sft", 0, {"loss": 1.0, "run/step": 0.0})
    assert len(finished(again, tmp_path / "next").metrics) == 1


def test_a_missing_package_names_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install rl_distill\[wandb\]"):
        offline(tmp_path)


@pytest.mark.parametrize("place", ["run", "run/wandb"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path, place: str) -> None:
    obstacle = tmp_path / place
    obstacle.parent.mkdir(exist_ok=True)
    obstacle.write_text("a file, no folder")
    with pytest.raises(InputError, match=r"tracking.wandb: the folder '.*/run/wandb' cannot be written \(Not a directory\)"):
        offline(tmp_path / "run")
    assert service_of(os.getpid()) is None


def test_without_a_login_nothing_starts_and_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(
        InputError, match=r"wandb does not start .*API key.*; .*`wandb login`, or set tracking.wandb.mode=offline"
    ):
        offline(tmp_path, mode="online")


@pytest.mark.parametrize(
    ("key", "value"), [("project", ""), ("project", "a/b"), ("project", "a" * 129), ("tags", [""]), ("tags", ["a" * 65])]
)
def test_what_the_server_would_refuse_is_refused_by_the_recipe(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^wandb.{key}|^{key}"):
        parse(Wandb, {key: value})
