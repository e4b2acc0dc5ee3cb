"""Two runs at once on one machine, each with a private cluster: they do not meet."""

import os
import signal
from pathlib import Path

from tiny_runs import RecipeFile, rolled_out, start_cli, write_recipe

from rl_distill.cli import main

OUTCOME = ("final/model.safetensors", "trajectories/rollouts.jsonl")
HANGS_SECONDS = 240.0  # whatever takes so long waits for ever


def written(folder: Path, seed: int) -> RecipeFile:
    folder.mkdir()
    return write_recipe(folder, rolled_out(steps=6), seed=seed, engine={"shard_size": 2})


def outcome(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTCOME}


def test_two_private_clusters_at_once_give_each_run_the_numbers_it_has_alone(tmp_path):
    recipes = [written(tmp_path / str(seed), seed) for seed in (0, 1)]
    alone = []
    for recipe in recipes:
        folder = recipe.run_dir.with_name("alone")
        assert main(["train", str(recipe.path), f"run_dir={folder}"]) == 0
        alone.append(outcome(folder))
        recipe.change(cluster={"name": "ray", "object_store_mib": 200})
    assert alone[0] != alone[1], "runs that meet would not show"

    processes = [start_cli("train", recipe.path) for recipe in recipes]
    try:
        for process in processes:
            out, err = process.communicate(timeout=HANGS_SECONDS)
            assert (process.returncode, err) == (0, ""), out
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert [outcome(recipe.run_dir) for recipe in recipes] == alone
