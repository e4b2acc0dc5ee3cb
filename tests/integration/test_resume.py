"""A run that is killed again and again, wherever it stands, ends with the bytes of one that nobody touched."""

import json
import multiprocessing
import os
import shutil
import signal
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import NoReturn

import pytest
from tiny_runs import RecipeFile, rolled_out, taught

LOADED_ONCE = ("rl_distill.training.run", "rl_distill.rollout.decode_loop", "transformers.models.qwen2.modeling_qwen2")


class Launcher:
    """Starts runs as forks of a clean process that has loaded everything, so that each begins in a moment."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,))
        self.process.start()

    def start(self, recipe: RecipeFile, die_at: int | None = None) -> int:
        """The process id of a new run."""
        self.pipe.send((str(recipe.path), os.environ["RL_DISTILL_CACHE"], die_at))
        return int(self.pipe.recv())

    def wait(self, pid: int) -> int:
        """The exit code of a run when it has ended; -9 if it was killed."""
        self.pipe.send(pid)
        return int(self.pipe.recv())

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def finish(self, recipe: RecipeFile) -> dict[str, object]:
        """Run to the end; what the run folder then holds."""
        assert self.wait(self.start(recipe)) == 0, recipe.path.with_suffix(".log").read_text()
        return outcome(recipe.run_dir)


def serve(pipe: Connection) -> None:
    """The launcher's process: forks a run for a tuple, waits for one for a process id, ends for None."""
    for module in LOADED_ONCE:
        import_module(module)
    while (request := pipe.recv()) is not None:
        if isinstance(request, int):
            pipe.send(os.waitstatus_to_exitcode(os.waitpid(request, 0)[1]))
        elif (pid := os.fork()) == 0:
            run(*request)
        else:
            pipe.send(pid)


def run(path: str, cache: str, die_at: int | None) -> NoReturn:
    """A run, in a process of its own. With `die_at` it kills itself, as `kill -9` would, at so many changes to the disk."""
    import torch

    from rl_distill.recipe import load_recipe
    from rl_distill.training.run import train

    torch.set_num_threads(1)
    os.environ["RL_DISTILL_CACHE"] = cache
    if die_at is not None:
        _die_at(die_at)
    with Path(path).with_suffix(".log").open("a") as log:
        try:
            train(load_recipe(path), say=lambda line: print(line, file=log, flush=True))
            os._exit(0)
        except BaseException:
            traceback.print_exc(file=log)
            log.flush()
            os._exit(1)


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
    found = launcher.finish(recipe)
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
    assert same(launcher.finish(recipe), expected) and not expected["left over"]
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
    assert same(launcher.finish(recipe), expected)
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
    assert same(launcher.finish(recipe), expected)
    shutil.rmtree(recipe.run_dir)
