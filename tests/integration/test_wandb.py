"""Weights & Biases in whole runs: offline it holds what the run folder holds, and whatever befalls it, the run goes on."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import RecipeFile, rolled_out, start_cli, taught
from wandb_file import WandbFile, service_of, written

from rl_distill.tracking import read_metrics
from rl_distill.tracking.wandb_tracker import FLUSH_SECONDS

wandb = pytest.importorskip("wandb")

OFFLINE = {"mode": "offline", "project": "small", "group": "redi", "tags": ["debug", "cpu"]}
TRACKING = {"console": "quiet", "trajectories_every": 2, "wandb": OFFLINE}
COLLAPSING = taught(
    "redi",
    algorithm={"name": "redi", "negative_coef": 1.0},
    learner={"learning_rate": 0.03, "schedule": "constant", "warmup_fraction": 0},
    steps=12,
)
WINDOW = {"collapse": {"window": 2}}


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    for name in ("WANDB_DATA_DIR", "WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield
    wandb.teardown()


@pytest.fixture
def train(cli: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """`rl-distill train`, until wandb's own process has written everything."""

    def run(recipe: RecipeFile, *overrides: str) -> tuple[int, str, str]:
        result = cli("train", recipe.path, *overrides)
        wandb.teardown()
        return result

    return run


def lines(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` as wandb gets them: its rows count `run/step`, not the steps of a stage."""
    return [{name: value for name, value in row.items() if name != "step"} for row in read_metrics(run_dir / "metrics.jsonl")]


def sampled(run_dir: Path) -> dict[int, list[list[Any]]]:
    """`trajectories/rollouts.jsonl` as rows of a table, by `run/step`."""
    run_step = {(row["stage"], row["step"]): int(row["run/step"]) for row in read_metrics(run_dir / "metrics.jsonl")}
    found: dict[int, list[list[Any]]] = {}
    for line in (run_dir / "trajectories" / "rollouts.jsonl").read_text().splitlines():
        group = json.loads(line)
        for attempt in group["trajectories"]:
            verdict = (attempt["score"]["verdict"] or {}).get("status")
            row = [
                group["problem"]["id"],
                group["problem"]["prompt"],
                attempt["messages"][-1]["content"],
                verdict,
                attempt["score"]["value"],
                sum(attempt["sampled"]),
                attempt["finish_reason"],
            ]
            found.setdefault(run_step[group["stage"], group["step"]], []).append(row)
    return found


def process_has_ended(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def kill(process: subprocess.Popen[str]) -> None:
    """As `kill -9` does, a moment after the last step: wandb writes its file a few times a second."""
    service = service_of(process.pid)
    assert service is not None
    process.send_signal(signal.SIGSTOP)
    time.sleep(5 * FLUSH_SECONDS)
    process.kill()
    process.communicate()
    while not process_has_ended(service):
        time.sleep(0.01)


def test_the_written_run_holds_what_the_run_folder_holds(tiny_recipe, train):
    recipe = tiny_recipe(rolled_out(steps=5), COLLAPSING, tracking=TRACKING, alarms=WINDOW)
    code, out, err = train(recipe)
    assert (code, err) == (0, "")
    (found,) = written(recipe.run_dir)
    run = found.run
    assert (run.run_id, run.project, run.run_group) == ((recipe.run_dir / ".run_id").read_text(), "small", "redi")
    assert (run.display_name, sorted(run.tags)) == ("tiny", ["cpu", "debug"])
    assert found.config == yaml.safe_load((recipe.run_dir / "recipe.yaml").read_text())

    assert found.metrics == lines(recipe.run_dir) and len(found.metrics) >= 17

    tables = found.tables("rollouts/grpo")
    assert {step: rows for step, _, rows in tables} == sampled(recipe.run_dir) and len(tables) == 3
    assert {tuple(columns) for _, columns, _ in tables} == {
        ("problem", "prompt", "response", "verdict", "reward", "tokens", "finish_reason")
    }
    ((_, columns, rows),) = found.tables("routes")
    routes = json.loads((recipe.run_dir / "summary.json").read_text())["routes"]
    assert [dict(zip(columns, row, strict=True)) for row in rows] == routes

    heard = [alarm for alarm in json.loads((recipe.run_dir / "summary.json").read_text())["alarms"]]
    assert [(alert.title, alert.text) for alert in found.of("alert")] == [
        (f"{alarm['alarm']}: {alarm['stage']}, step {alarm['step'] + 1}", alarm["text"]) for alarm in heard
    ]
    assert "collapse" in {alarm["alarm"] for alarm in heard}

    (final,) = [artifact for artifact in found.of("artifact") if artifact.type == "model"]
    assert final.name == "tiny-final"
    files = {entry.path: Path(entry.local_path) for entry in final.manifest.contents}
    assert files == {path.relative_to(path.parents[0]).as_posix(): path for path in (recipe.run_dir / "final").iterdir()}
    assert found.of("exit")[0].exit_code == 0


def test_the_command_that_the_end_of_a_run_names_would_upload_all_its_processes(tiny_recipe, train):
    recipe = tiny_recipe(tracking=TRACKING)
    for _ in range(2):
        _, out, _ = train(recipe)
    (command,) = re.findall(r"^wandb: upload with `(.*)`$", out, flags=re.MULTILINE)
    wandb_command = [sys.executable, "-m", *command.split(), "--dry-run"]
    dry = subprocess.run(wandb_command, capture_output=True, text=True, check=True)
    assert "Would sync 2 run(s)" in dry.stdout + dry.stderr


def test_a_run_killed_in_the_middle_keeps_its_rows_and_goes_on_as_the_same_run(tiny_recipe, train):
    recipe = tiny_recipe(taught(steps=60), tracking=TRACKING, checkpoints={"every_steps": 5})
    metrics = recipe.run_dir / "metrics.jsonl"
    process = start_cli("train", recipe.path)
    while process.poll() is None and not (metrics.exists() and metrics.read_text().count('"sft"') >= 12):
        pass
    kill(process)
    before = lines(recipe.run_dir)
    (killed,) = written(recipe.run_dir)
    assert killed.metrics in (before, before[:-1])  # it may have died between the two

    assert train(recipe)[0] == 0
    first, second = written(recipe.run_dir)
    assert first.metrics == killed.metrics and not first.of("exit")
    assert first.run.run_id == second.run.run_id and second.run.resume
    assert (first.run.run_group, first.run.tags) == (second.run.run_group, second.run.tags)
    repeated = {row["run/step"] for row in first.metrics} & {row["run/step"] for row in second.metrics}
    whole = {row["run/step"]: row for row in first.metrics + second.metrics}
    assert list(whole.values()) == lines(recipe.run_dir) and len(repeated) < 10


def test_a_run_goes_on_with_other_tracking_than_it_began_with(tiny_recipe, train):
    recipe = tiny_recipe(tracking=TRACKING)
    assert train(recipe)[0] == 0
    shutil.rmtree(recipe.run_dir / "stages" / "sft")
    recipe.change(stages=[taught(), taught("redi")])
    code, _, err = train(recipe, "tracking.wandb.tags=[later]", "tracking.trajectories_every=1")
    assert (code, err) == (0, "")
    first, second = written(recipe.run_dir)
    assert first.run.run_id == second.run.run_id and list(second.run.tags) == ["later"]
    assert [stage["name"] for stage in second.config["stages"]] == ["sft", "redi"]
    assert second.config["tracking"]["trajectories_every"] == 1


def test_when_its_process_dies_the_run_goes_on_with_one_warning_and_a_complete_record(tiny_recipe):
    recipe = tiny_recipe(taught(steps=60), tracking=TRACKING, checkpoints={"every_steps": 50})
    metrics = recipe.run_dir / "metrics.jsonl"
    process = start_cli("train", recipe.path)
    while process.poll() is None and not (metrics.exists() and '"sft"' in metrics.read_text()):
        pass
    service = service_of(process.pid)
    assert service is not None
    os.kill(service, signal.SIGKILL)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert len(re.findall(r"^warning: .*", out, flags=re.MULTILINE)) == 1
    assert re.search(r"^warning: tracking\.wandb failed \(.*\); the run goes on without it", out, flags=re.MULTILINE)
    assert [row["step"] for row in read_metrics(metrics) if row["stage"] == "sft"] == list(range(60))
    assert len({row["run/step"] for row in read_metrics(metrics)}) == len(read_metrics(metrics))
    assert (recipe.run_dir / "summary.json").exists()


@pytest.mark.parametrize("server", ["absent", "silent"])
def test_without_a_server_nothing_starts_and_offline_does(server, tiny_recipe, train):
    recipe = tiny_recipe(tracking=TRACKING)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if server == "silent":
            listener.listen()
        environment = {
            "WANDB_BASE_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "WANDB_API_KEY": "f" * 40,
            "WANDB_INIT_TIMEOUT": "2",
        }
        process = start_cli("train", recipe.path, "tracking.wandb.mode=online", **environment)
        out, err = process.communicate()
    (error,) = [line for line in err.splitlines() if not line.startswith("wandb: ")]
    assert (process.returncode, out) == (2, "") and error.startswith("error: tracking.wandb: wandb does not start (")
    assert error.endswith("check the connection and `wandb login`, or set tracking.wandb.mode=offline")
    assert not (recipe.run_dir / "stages").exists()
    assert train(recipe)[0] == 0


def saved(run_dir: Path) -> dict[str, bytes]:
    """All that a run has made, without the notes about the process that opened it last."""
    notes = {"recipe.yaml", "environment.json", ".lock"}
    return {str(path): path.read_bytes() for path in run_dir.rglob("*") if path.is_file() and path.name not in notes}


def test_a_wandb_folder_that_cannot_be_written_is_refused_and_nothing_is_lost(tiny_recipe, train):
    recipe = tiny_recipe(taught(), rolled_out(steps=4))
    assert train(recipe)[0] == 0
    expected = (recipe.run_dir / "final" / "model.safetensors").read_bytes()
    for finished in (recipe.run_dir / "stages" / "grpo", recipe.run_dir / "checkpoints" / "grpo" / "step-00000004"):
        shutil.rmtree(finished)
    obstacle = recipe.run_dir / "wandb"
    obstacle.write_text("a file")  # a folder without permissions would not stop root
    before = saved(recipe.run_dir)

    code, out, err = train(recipe, "tracking.wandb={mode: offline}")
    assert (code, out) == (2, "") and err == (
        f"error: tracking.wandb: the folder '{obstacle}' cannot be written (Not a directory); "
        "make room for it, or choose another run folder with run_dir=PATH\n"
    )
    assert saved(recipe.run_dir) == before

    obstacle.unlink()
    code, out, _ = train(recipe, "tracking.wandb={mode: offline}")
    assert code == 0 and "grpo: continues after step 3 from" in out
    assert (recipe.run_dir / "final" / "model.safetensors").read_bytes() == expected
    (found,) = written(recipe.run_dir)
    assert found.metrics == lines(recipe.run_dir)[-1:]


def test_a_run_that_fails_is_no_finished_run_there(tiny_recipe, train):
    still = taught(learner={"learning_rate": 1e-12, "schedule": "constant", "warmup_fraction": 0}, steps=6)
    recipe = tiny_recipe(still, tracking=TRACKING, alarms={"no_update": {"action": "stop"}})
    assert train(recipe)[0] == 1
    found: WandbFile = written(recipe.run_dir)[-1]
    assert found.of("exit")[0].exit_code == 1 and found.metrics == lines(recipe.run_dir)
