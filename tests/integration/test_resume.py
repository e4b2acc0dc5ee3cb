"""A run that is killed again and again, wherever it stands, ends with the bytes of one that nobody touched."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from random import Random

import pytest
from tiny_runs import RecipeFile, rolled_out, taught

# A clean server process that has loaded everything forks the runs, so that each starts in a moment.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["rl_distill.training.run", "rl_distill.rollout.decode_loop", "transformers.models.qwen2.modeling_qwen2"]
)


def run(path: str, cache: str, log: str, die_at: int | None) -> None:
    """Runs in a process of its own. With `die_at` it kills itself, as `kill -9` would, at so many changes to the disk."""
    import torch

    from rl_distill.recipe import load_recipe
    from rl_distill.training.run import train

    torch.set_num_threads(1)
    os.environ["RL_DISTILL_CACHE"] = cache
    if die_at is not None:
        _die_at(die_at)
    with open(log, "a") as lines:
        train(load_recipe(path), say=lambda line: print(line, file=lines, flush=True))


def _die_at(count: int) -> None:
    left = [count]

    def deadly(name: str) -> None:
        change = getattr(os, name)

        def changed(*arguments: object, **options: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **options)

        setattr(os, name, changed)

    for name in ("fsync", "rename", "replace", "mkdir", "rmdir", "unlink"):
        deadly(name)


def started(recipe: RecipeFile, die_at: int | None = None) -> multiprocessing.process.BaseProcess:
    cache = os.environ["RL_DISTILL_CACHE"]
    process = CONTEXT.Process(target=run, args=(str(recipe.path), cache, str(recipe.path.with_suffix(".log")), die_at))
    process.start()
    return process


def finished(recipe: RecipeFile) -> dict[str, object]:
    """Run to the end; what the run folder then holds."""
    process = started(recipe)
    process.join()
    assert process.exitcode == 0, recipe.path.with_suffix(".log").read_text()
    return outcome(recipe.run_dir)


def outcome(run_dir: Path) -> dict[str, object]:
    """Everything that training decides: weights, what was trained on, what was measured; not how long it took."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": (run_dir / "final" / "model.safetensors").read_bytes(),
        "ledger": (run_dir / "ledger.jsonl").read_bytes(),
        "trajectories": (run_dir / "trajectories" / "rollouts.jsonl").read_bytes(),
        "metrics": [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines],
        "left over": [path.name for path in run_dir.rglob(".*") if path.name.endswith((".tmp", ".old"))],
    }


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> RecipeFile:
    """SFT, then GRPO with a reference and two updates a round, then REDI from the SFT student."""
    import yaml
    from tiny_runs import tiny_student

    folder = tmp_path_factory.mktemp("resume")
    grpo = rolled_out(steps=5, mini_batches=2, algorithm={"name": "grpo", "kl_coef": 0.04, "correction": "token_tis"})
    whole = {
        "name": "resumed",
        "run_dir": str(folder / "run"),
        "student": tiny_student(),
        "stages": [taught(), grpo, taught("redi", start="sft", learner={"learning_rate": 1e-3, "warmup_fraction": 0.5})],
        "checkpoints": {"every_steps": 2},
        "tracking": {"console": "quiet", "trajectories_every": 1},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(whole))
    return RecipeFile(path, folder / "run")


@pytest.fixture(scope="module")
def expected(recipe) -> dict[str, object]:
    """Of the run that nobody touched. It is the second one: the first has filled the cache with the base student."""
    finished(recipe)
    shutil.rmtree(recipe.run_dir)
    found = finished(recipe)
    shutil.rmtree(recipe.run_dir)
    return found


def opened(recipe: RecipeFile) -> int | None:
    """Changes whenever a process opens the run folder."""
    try:
        return (recipe.run_dir / "environment.json").stat().st_mtime_ns
    except FileNotFoundError:
        return None


def same(found: dict[str, object], expected: dict[str, object]) -> bool:
    return all(found[name] == expected[name] for name in expected)


def test_two_uninterrupted_runs_are_the_same(recipe, expected):
    assert same(finished(recipe), expected) and not expected["left over"]
    assert len(expected["metrics"]) == 9 and len({line["run/step"] for line in expected["metrics"]}) == 9
    shutil.rmtree(recipe.run_dir)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(seed, recipe, expected):
    rng = Random(seed)
    for _ in range(4):
        before = opened(recipe)
        process = started(recipe)
        while opened(recipe) == before:
            pass
        time.sleep(rng.uniform(0.0, 0.5))
        process.kill()
        process.join()
    assert same(finished(recipe), expected)
    shutil.rmtree(recipe.run_dir)


def test_a_run_killed_at_any_change_to_the_disk_ends_with_the_same_bytes(recipe, expected):
    """Among them: inside a checkpoint, between two renames, while old checkpoints are removed, while a stage is sealed."""
    rng, deaths = Random(0), 0
    while True:
        process = started(recipe, die_at=rng.randint(5, 60))
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL, recipe.path.with_suffix(".log").read_text()
        deaths += 1
    assert deaths > 5
    assert same(outcome(recipe.run_dir), expected)
    shutil.rmtree(recipe.run_dir)


def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(recipe, expected):
    process = started(recipe)
    checkpoints = recipe.run_dir / "checkpoints" / "grpo"
    while not list(checkpoints.glob(".step-00000004.*.tmp")):
        assert process.is_alive()
    process.kill()
    process.join()
    assert sorted(path.name for path in checkpoints.glob("step-*"))[0] == "step-00000002"
    assert same(finished(recipe), expected)
    shutil.rmtree(recipe.run_dir)
