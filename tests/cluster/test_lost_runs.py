"""Runs whose parts are killed at random moments end as if nothing had happened, and can be repeated to the bit."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_runs import rolled_out, start_cli

CHAOS = Path(__file__).parents[2] / "scripts" / "chaos.py"
SAME = "every number is the same, to the bit"


def chaos(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What became of each strike."""
    command = [sys.executable, str(CHAOS), *arguments, "--folder", str(folder), "--json", str(folder / "outcomes.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    logs = "".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    outcomes: list[dict[str, Any]] = json.loads((folder / "outcomes.json").read_text())
    return outcomes


def test_a_run_of_thirty_steps_survives_every_kind_of_loss_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Also a worker that is stopped and says nothing; its patience is 20 s."""
    kinds = ["engine", "learner", "scorer", "driver"]
    found = chaos(tmp_path, "--kill", *(f"{kind}=1" for kind in kinds), "--stop", "learner=1", "--per-run", "5", "--delay", "0.5")
    struck = sorted((outcome["how"], outcome["role"]) for outcome in found)
    assert struck == sorted([*(("kill", kind) for kind in kinds), ("stop", "learner")])
    assert [outcome["problem"] for outcome in found] == [""] * 5
    assert len({outcome["run"] for outcome in found}) == 1, "one run survived them all"


def test_a_run_that_samples_ahead_trains_on_each_group_once_and_can_be_repeated(
    tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    found = chaos(tmp_path, "--ahead", "2", "--kill", "engine=1", "learner=1", "driver=1")
    assert [outcome["problem"] for outcome in found] == [""] * 3
    run = tmp_path / f"run-{found[-1]['run']}"
    swapped = [line for line in (run / "schedule.jsonl").read_text().splitlines() if len(json.loads(line)["swaps"]) > 1]
    assert swapped, "weights came while shards were being decoded"
    code, out, err = cli("replay", run, "tracking.console=quiet")
    assert (code, err) == (0, "") and f"30 steps: {SAME}" in out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_during_a_checkpoint_costs_no_saved_step(small_disk: Path, tiny_recipe: Any, cli: Any) -> None:
    cluster = {"name": "ray", "object_store_mib": 200}
    recipe = tiny_recipe(rolled_out(steps=150), run_dir=str(small_disk / "run"), cluster=cluster)
    process, checkpoints = start_cli("train", recipe.path), small_disk / "run" / "checkpoints" / "grpo"
    while process.poll() is None and not list(checkpoints.glob("step-*")):
        pass
    ballast = small_disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "No space left on device" in err and "ray::" not in err
    saved = sorted(checkpoints.glob("step-*"))
    assert f"stage 'grpo' up to step {int(saved[-1].name[5:])} in {saved[-1]}" in err
    ballast.unlink()
    assert cli("train", recipe.path)[0] == 0


def test_no_worker_outlives_a_driver_that_is_killed_while_it_starts(tiny_recipe: Any, cli: Any) -> None:
    recipe = tiny_recipe(rolled_out(steps=5000), cluster={"name": "ray", "object_store_mib": 200})
    process = start_cli("train", recipe.path)
    while process.poll() is None and not (recipe.run_dir / "workers.json").exists():
        pass
    workers = [child for child in psutil.Process(process.pid).children(recursive=True) if is_worker(child)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert workers and not psutil.wait_procs(workers, timeout=30)[1]
    assert (recipe.run_dir / "workers.json").exists(), "what the driver can no longer take away"
    code, out, _ = cli("status", recipe.run_dir)
    assert code == 0 and "stopped before its end; the command that started it continues it" in out and "engine" not in out


def is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "Worker" in " ".join(process.cmdline())
    return False
