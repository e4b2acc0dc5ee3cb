"""Sweeps on real Ray Tune: one table, stages trained once, kills and failures that cost nothing but themselves, alarms."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from tiny_runs import start_cli, taught, write_recipe
from wandb_file import written

from rl_distill.cluster.job_trials import Held, Job, JobTrials, drawn
from rl_distill.cluster.machine import this_machine
from rl_distill.recipe import load_recipe
from rl_distill.training.run import train

COEF = "stages.redi.algorithm.negative_coef"
EVALUATION = {
    "problems": {"name": "arithmetic", "split": "heldout", "num_problems": 4, "levels": [1]},
    "num_samples": 2,
    "sampling": {"max_tokens": 12},
}
WATCHED = {"learning_rate": 0.03, "schedule": "constant", "warmup_fraction": 0}


def write_sweep(folder: Path, *stages: dict[str, Any], **keys: Any) -> tuple[Path, Path]:
    """The file, and the folder of the sweep."""
    write_recipe(folder, *stages, evaluation=EVALUATION, alarms={"collapse": {"window": 2}})
    path, out = folder / "sweep.yaml", folder / "out"
    path.write_text(yaml.safe_dump({"name": "tried", "recipe": "tiny.yaml", "folder": str(out), "cpus": 1} | keys))
    return path, out


def outcome(run_dir: Path) -> dict[str, Any]:
    """What training decides; a base from the cache has no lines of its own."""
    results = {path.parent.name: json.loads(path.read_text()) for path in run_dir.glob("stages/*/result.json")}
    ledger = (run_dir / "ledger.jsonl").read_text().splitlines()
    return {
        "weights": (run_dir / "final" / "model.safetensors").read_bytes(),
        "ledger": [line for line in ledger if json.loads(line)["stage"] != "base"],
        "accuracy": {name: result["evaluation"]["problem_accuracy"] for name, result in results.items()},
    }


def test_a_sweep_killed_and_continued_trains_shared_stages_once_and_each_cell_as_if_alone(tmp_path: Path) -> None:
    """One variant fails and one is stopped by an alarm: the others go on, and the table says why."""
    arms = [
        {"name": "alpha0", "set": {COEF: 0}},
        {"name": "alpha1", "set": {COEF: 1.0}},
        {"name": "hot", "set": {COEF: 1.0, "stages.redi.learner": WATCHED, "stages.redi.steps": 20}},
        {"name": "broken", "set": {"stages.redi.source.problems": {"name": "jsonl", "path": str(tmp_path / "rows.jsonl")}}},
    ]
    (tmp_path / "rows.jsonl").write_text("{}\n")  # there, and no row
    path, out = write_sweep(tmp_path, taught("sft"), taught("redi", steps=4), arms=arms, baseline="alpha0", stop_on=["collapse"])
    process = start_cli("sweep", path)
    while not list(out.glob("cells/*/stages/sft/result.json")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.kill()
    process.communicate()
    process = start_cli("sweep", path)
    printed, errors = process.communicate(timeout=900)
    assert process.returncode == 1, "a cell failed"
    assert "broken-0 failed: stages.redi.source.problems" in errors and f"continue with: rl-distill sweep {path}" in errors
    found = json.loads((out / "sweep.json").read_text())
    states = {cell["variant"]: cell["state"] for cell in found["cells"]}
    assert states == {"alpha0": "done", "alpha1": "done", "hot": "stopped", "broken": "failed"}
    rows = {row["variant"]: row for row in found["rows"]}
    assert rows["hot"]["stopped_seeds"] == [0] and rows["hot"]["spent_without_result"]["trained_tokens"] > 0
    assert rows["hot"]["alarms"]["collapse"] == 1 and rows["hot"]["remarks"][0].startswith("seed 0 stopped: alarm collapse")
    assert rows["alpha1"]["difference"] is not None and rows["alpha1"]["p"] is None, "one seed"
    assert rows["broken"]["remarks"][0].startswith("seed 0 failed: stages.redi.source.problems")
    assert all(name in printed for name in states) and (out / "table.csv").is_file() and (out / "table.tex").is_file()

    logs = {log.stem: log.read_text() for log in (out / "logs").glob("*.log")}
    lines = [line for log in logs.values() for line in log.splitlines() if line.startswith("sft: 2 steps")]
    assert sum(not line.endswith("taken over") for line in lines) <= 1, logs
    assert sum(line.endswith("taken over") for line in lines) >= 2, logs
    for cell in found["cells"][:2]:
        alone = tmp_path / f"alone-{cell['variant']}"
        resolved = out / cell["run"] / "recipe.yaml"
        train(load_recipe(resolved, [f"run_dir={alone}"]), say=lambda line: None)
        assert outcome(out / cell["run"]) == outcome(alone), "to the bit what the cell would have trained itself"

    before = {cell["name"]: (out / cell["log"]).stat().st_mtime_ns for cell in found["cells"]}
    (tmp_path / "rows.jsonl").write_text('{"problem": "1 + 1 = ?", "answer": "2", "solution": "so 2"}\n')
    code = start_cli("sweep", path).wait(900)
    after = {cell["name"]: (out / cell["log"]).stat().st_mtime_ns for cell in found["cells"]}
    assert {name for name in before if before[name] != after[name]} == {"broken-0"}, (code, "only what is not done begins again")


def test_cells_that_use_ray_start_clusters_of_their_own_within_that_of_the_sweep(tmp_path: Path) -> None:
    places = {"name": "ray", "learner": {"cpus": 0.25}, "engine": {"cpus": 0.25}}
    sweep = {"set": {"cluster": places, "alarms.collapse.action": "ignore"}, "grid": {COEF: [0, 1.0]}}
    path, out = write_sweep(tmp_path, taught("sft"), taught("redi"), **sweep)
    process = start_cli("sweep", path)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    logs = [log.read_text() for log in sorted((out / "logs").glob("*.log"))]
    assert len(logs) == 2 and sum("sft: 2 steps" in log and "taken over" in log for log in logs) == 1, logs
    assert all((run / "environment.json").exists() and (run / "logs").is_dir() for run in out.glob("cells/*")), "Ray's workers"


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    path, out = write_sweep(tmp_path, taught("sft", steps=4000), seeds=[0])
    process = start_cli("sweep", path)
    while not list(out.glob("cells/*/checkpoints/sft/step-*")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1 and "unfinished: stopped by SIGTERM after step" in errors and "continue with:" in errors
    assert not list(out.glob(".tune-*")), "nothing of Tune's is left"


def test_a_recipe_edited_under_a_cells_name_is_refused_with_what_a_sweep_can_do_about_it(tmp_path: Path, monkeypatch) -> None:
    """Cells have a name of their own in Weights & Biases."""
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    path, out = write_sweep(tmp_path, taught("sft"), seeds=[0, 1])
    recipe = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    recipe["tracking"] = {"wandb": {"mode": "offline"}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    assert start_cli("sweep", path).wait(600) == 0
    named = {file.run.display_name for seed in (0, 1) for file in written(out / "cells" / f"recipe-{seed}")}
    models = {one.name for seed in (0, 1) for file in written(out / "cells" / f"recipe-{seed}") for one in file.of("artifact")}
    assert named == {"tried-recipe-0", "tried-recipe-1"} and {f"{name}-final" for name in named} <= models
    assert {file.run.display_name for file in written(out)} == {"tried-table"}

    recipe["stages"][0]["learner"]["learning_rate"] = 0.5
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    process = start_cli("sweep", path)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1 and "holds a run of another recipe (" in errors and "learning_rate is" in errors
    assert "choose another with folder=PATH of the sweep, or remove that folder" in errors and "run_dir=PATH" not in errors
    process = start_cli("sweep", path, f"folder={tmp_path / 'other'}")
    assert process.wait(600) == 0, "as the remedy says"


def test_jobs_begin_when_what_they_need_is_there_and_a_lost_one_is_told(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    script = f"date +%s%N >> {tmp_path}/began; sleep 1; mkdir -p {shared}; sleep 1; date +%s%N >> {tmp_path}/ended"
    jobs = [
        Job(
            name=name,
            command=("bash", "-c", script),
            folder=str(tmp_path),
            log=str(tmp_path / f"{name}.log"),
            makes=(str(shared),),
        )
        for name in ("one", "two")
    ]
    began: list[str] = []
    ended: list[str] = []
    trials = JobTrials(None, Held(cpus=0.5, gpus=None), tmp_path)
    try:
        assert ray.cluster_resources()["CPU"] == this_machine().cores, "no more cells at a time than there are cores for"
        trials.run(jobs, begun=began.append, ended=ended.append, stop=lambda: False)
    finally:
        trials.close()
    assert sorted(ended) == ["one", "two"] == began
    second = int((tmp_path / "began").read_text().split()[1])
    assert second >= shared.stat().st_mtime_ns, "it did not begin before the first had made what both need"


def test_draws_are_those_of_their_seed_within_their_bounds_and_of_three_digits() -> None:
    keys = {"rate": {"log_uniform": (1.234e-5, 1e-3)}, "kind": {"choice": ("a", "b")}, "share": {"uniform": (0.0, 1.0)}}
    found = drawn(keys, count=50, seed=1)
    assert found == drawn(keys, count=50, seed=1) != drawn(keys, count=50, seed=2)
    assert all(1.234e-5 <= one["rate"] <= 1e-3 and 0 <= one["share"] <= 1 for one in found)
    assert {one["kind"] for one in found} == {"a", "b"}
    assert sum(one["rate"] < 1.1e-4 for one in found) in range(15, 36), "evenly in the logarithm"
    assert all(float(f"{one['share']:.3g}") == one["share"] for one in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cpus=4096"], "error: cpus: each cell holds 4096, and there are"),
        (["--address", "nowhere"], "error: --address: is 'nowhere'; give HOST:PORT of a head node, or auto"),
    ],
)
def test_a_cell_that_could_never_run_is_refused(tmp_path: Path, cli, arguments: list[str], message: str) -> None:
    path, _ = write_sweep(tmp_path, taught("sft"))
    code, _, err = cli("sweep", path, *arguments)
    assert (code, err.count("\n")) == (2, 1) and err.startswith(message), err
