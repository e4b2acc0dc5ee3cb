"""Whole runs on a private Ray cluster: the local run's numbers, and sampling that runs ahead of training within its bound."""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_runs import rolled_out, start_cli, taught

EVALUATION = {
    "problems": {"name": "arithmetic", "split": "heldout", "num_problems": 4, "levels": [1]},
    "num_samples": 2,
    "sampling": {"max_tokens": 12},
}
STAGES = [
    taught("dpo"),
    taught("kd", algorithm={"name": "kd", "num_candidates": 5}),
    rolled_out(algorithm={"name": "grpo"}, mini_batches=2),  # with a reference, and log-probs of its own past
]
RUN = {"evaluation": EVALUATION, "engine": {"shard_size": 2}, "teacher": "base"}


def lines(path: Path, stage: str = "") -> list[dict]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if not stage or row["stage"] == stage]


def numbers(run_dir: Path) -> list[dict]:
    """All metrics but for the base student's, which comes from the cache, and what a clock says."""
    rows = [row for row in lines(run_dir / "metrics.jsonl") if row["stage"] != "base"]
    return [{path: value for path, value in row.items() if not path.startswith("time/")} for row in rows]


def learnt(run_dir: Path) -> list[dict]:
    """The ledger of the stages."""
    return [row for row in lines(run_dir / "ledger.jsonl") if row["stage"] != "base"]


@pytest.fixture
def local(tiny_recipe, cli):
    """A finished run in one process."""
    recipe = tiny_recipe(*STAGES, **RUN)
    assert cli("train", recipe.path)[0] == 0
    kept = recipe.run_dir.with_name("local")
    shutil.copytree(recipe.run_dir, kept)
    return recipe, kept


def test_one_rank_and_three_engine_workers_give_the_local_run_to_the_bit(local, cli):
    recipe, kept = local
    shutil.rmtree(recipe.run_dir)
    recipe.change(cluster={"name": "ray", "engine": {"workers": 3}, "scorer": {"workers": 2}, "object_store_mib": 200})
    code, _, err = cli("train", recipe.path)
    assert (code, err) == (0, "")
    assert numbers(recipe.run_dir) == numbers(kept)
    assert learnt(recipe.run_dir) == learnt(kept)
    for name in ("final/model.safetensors", "trajectories/rollouts.jsonl", "stages/grpo/evaluation.jsonl"):
        assert (recipe.run_dir / name).read_bytes() == (kept / name).read_bytes(), name
    workers = {line["worker"] for line in lines(recipe.run_dir / "schedule.jsonl")}
    assert workers == {0, 1, 2}, "the work must have been shared"


def test_a_local_run_goes_on_with_two_sharded_ranks_to_the_same_weights(local, cli):
    recipe, kept = local
    shutil.rmtree(recipe.run_dir / "stages" / "grpo")
    shutil.rmtree(recipe.run_dir / "checkpoints" / "grpo" / "step-00000002")
    cluster = {"name": "ray", "learner": {"ranks": 2, "zero_stage": 3}, "engine": {"workers": 2}, "object_store_mib": 200}
    recipe.change(cluster=cluster)
    code, out, err = cli("train", recipe.path)
    assert (code, err) == (0, "") and "grpo: continues after step 1" in out
    assert "note: cluster.name was 'local' and is 'ray'" in out
    one, other = (load_file(folder / "final" / "model.safetensors") for folder in (recipe.run_dir, kept))
    assert max((one[name] - other[name]).abs().max().item() for name in one) < 1e-5
    assert learnt(recipe.run_dir) == learnt(kept)


def test_sampling_ahead_stays_within_its_bound_and_takes_the_problems_and_seeds_of_the_synchronous_run(tiny_recipe, cli):
    stage = rolled_out(steps=6, algorithm={"name": "grpo", "kl_coef": 0, "correction": "token_tis"})
    stage["source"] |= {"sampling": {"max_tokens": 60}, "group_size": 4}
    recipe = tiny_recipe(stage, engine={"shard_size": 4})
    assert cli("train", recipe.path)[0] == 0
    composition = [line["requests"] for line in lines(recipe.run_dir / "schedule.jsonl")]
    shutil.rmtree(recipe.run_dir)

    stage["source"]["max_staleness"] = 1
    recipe.change(stages=[stage], cluster={"name": "ray", "engine": {"workers": 2}, "object_store_mib": 200})
    code, _, err = cli("train", recipe.path)
    assert (code, err) == (0, "")
    schedule = lines(recipe.run_dir / "schedule.jsonl")
    assert [line["requests"] for line in schedule] == composition
    assert any(version < line["step"] for line in schedule for _, version in line["swaps"]), "nothing ran ahead"
    for line in schedule:
        assert line["step"] - line["submitted"] <= 1
        assert all(line["step"] - 1 <= version <= line["step"] for _, version in line["swaps"])

    attempts = {
        (row["step"], attempt["problem_id"], attempt["seed"]): attempt
        for row in lines(recipe.run_dir / "trajectories" / "rollouts.jsonl")
        for attempt in row["trajectories"]
    }
    for line in schedule:
        swapped = [version for _, version in line["swaps"]]
        for problem, seed in line["requests"]:
            attempt = attempts[line["step"], problem, seed]
            pairs = zip(attempt["policy_versions"], attempt["sampled"], strict=True)
            versions = [version for version, own in pairs if own]
            assert versions == sorted(versions) and set(versions) <= set(swapped)
    metrics = lines(recipe.run_dir / "metrics.jsonl", "grpo")
    assert max(row["staleness/max"] for row in metrics) == 1
    for row in metrics:
        assert row["staleness/share/0"] + row["staleness/share/1"] == pytest.approx(1)
        assert all(0 <= row[f"{part}/idle_fraction"] <= 1 for part in ("engine", "learner")) and row["rollout/queued_groups"] >= 0

    shutil.rmtree(recipe.run_dir / "stages" / "grpo")
    shutil.rmtree(recipe.run_dir / "checkpoints" / "grpo" / "step-00000006")
    code, out, err = cli("train", recipe.path)
    assert (code, err) == (0, "") and "grpo: continues after step 5" in out
    again = lines(recipe.run_dir / "schedule.jsonl")
    assert [line["requests"] for line in again] == composition, "what was under way when the run stopped is sampled again"


def test_a_schedulers_sigterm_stops_a_run_on_ray_like_one_in_a_single_process(tiny_recipe):
    recipe = tiny_recipe(
        taught(steps=5000), cluster={"name": "ray", "object_store_mib": 200}, checkpoints={"every_steps": 10_000}
    )
    process = start_cli("train", recipe.path)
    metrics = recipe.run_dir / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and '"sft"' in metrics.read_text()):
        pass
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 1 and "stopped by SIGTERM after step" in err and "that step is saved" in err
    assert list((recipe.run_dir / "checkpoints" / "sft").glob("step-*"))


@pytest.mark.parametrize("role", ["engine", "learner"])
def test_a_worker_that_dies_is_what_the_report_says_failed_first(role, tiny_recipe):
    recipe = tiny_recipe(rolled_out(steps=5000), cluster={"name": "ray", "object_store_mib": 200, "retries": 0})
    process = start_cli("train", recipe.path)
    metrics = recipe.run_dir / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and '"grpo"' in metrics.read_text()):
        pass
    (worker,) = [row for row in json.loads((recipe.run_dir / "workers.json").read_text()) if row["role"] == role]
    os.kill(worker["pid"], signal.SIGKILL)
    out, err = process.communicate()
    said = re.search(r"failed: .*", err)
    name = {"engine": "engine worker", "learner": "learner rank"}[role]
    assert process.returncode == 1 and said is not None and f"{name} 0 (pid {worker['pid']} on " in said[0]
    assert not re.search("abandoning shards|learner end", said[0]), "that is what came of it"
    assert f"its log: {recipe.run_dir}/logs/{role}-0.log" in err and "continue with: rl-distill train" in err
    assert "raylet" not in out + err and not (recipe.run_dir / "workers.json").exists()


def test_sampling_ahead_in_one_process_is_refused(tiny_recipe, cli):
    stage = rolled_out()
    stage["source"]["max_staleness"] = 1
    code, _, err = cli("train", tiny_recipe(stage).path)
    assert code == 2 and "max_staleness: 1 " in err and "cluster.name=ray" in err
