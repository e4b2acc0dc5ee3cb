"""A run that is killed again and again, wherever it stands, ends with the bytes of one that nobody touched."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from run_launcher import Launcher
from tiny_runs import RecipeFile, rolled_out, taught


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
    """SFT, then GRPO with a reference, two updates a round and REDI beside it, then REDI from the SFT student."""
    import yaml
    from tiny_runs import tiny_student

    folder = tmp_path_factory.mktemp("resume")
    grpo = rolled_out(steps=5, mini_batches=2, algorithm={"name": "grpo", "kl_coef": 0.04, "correction": "token_tis"})
    teacher = taught("redi")
    grpo["beside"] = [{"name": "pairs", "algorithm": teacher["algorithm"], "source": teacher["source"], "weight": 0.5}]
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
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.pipe.send(None)
    launcher.process.join()


@pytest.fixture(scope="module")
def expected(recipe, launcher) -> dict[str, object]:
    """Of the run that nobody touched. It is the second one: the first has filled the cache with the base student."""
    launcher.finish(recipe)
    shutil.rmtree(recipe.run_dir)
    launcher.finish(recipe)
    found = outcome(recipe.run_dir)
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


def test_two_uninterrupted_runs_are_the_same(recipe, launcher, expected):
    launcher.finish(recipe)
    assert same(outcome(recipe.run_dir), expected) and not expected["left over"]
    assert len(expected["metrics"]) == 9 and len({line["run/step"] for line in expected["metrics"]}) == 9
    shutil.rmtree(recipe.run_dir)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(seed, recipe, launcher, expected):
    rng = Random(seed)
    for _ in range(4):
        before = opened(recipe)
        process = launcher.start(recipe)
        while opened(recipe) == before:
            pass
        time.sleep(rng.uniform(0.0, 0.5))
        launcher.kill(process)
    launcher.finish(recipe)
    assert same(outcome(recipe.run_dir), expected)
    shutil.rmtree(recipe.run_dir)


def test_a_run_killed_at_any_change_to_the_disk_ends_with_the_same_bytes(recipe, launcher, expected):
    """Among them: inside a checkpoint, between two renames, while old checkpoints are removed, while a stage is sealed."""
    rng, deaths = Random(0), 0
    while True:
        code = launcher.wait(launcher.start(recipe, die_at=rng.randint(5, 60)))
        if code == 0:
            break
        assert code == -signal.SIGKILL, recipe.path.with_suffix(".log").read_text()
        deaths += 1
    assert deaths > 5
    assert same(outcome(recipe.run_dir), expected)
    shutil.rmtree(recipe.run_dir)


def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(recipe, launcher, expected):
    process = launcher.start(recipe)
    checkpoints = recipe.run_dir / "checkpoints" / "grpo"
    while not list(checkpoints.glob(".step-00000004.*.tmp")):
        assert not (recipe.run_dir / "summary.json").exists()
    launcher.kill(process)
    assert sorted(path.name for path in checkpoints.glob("step-*"))[0] == "step-00000002"
    launcher.finish(recipe)
    assert same(outcome(recipe.run_dir), expected)
    shutil.rmtree(recipe.run_dir)
