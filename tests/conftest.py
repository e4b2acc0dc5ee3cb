"""What tests share: one thread, a cache of their own, tiny recipes on disk, and the command line."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_runs import RecipeFile, write_recipe

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start: a continued run needs the threads of the first one
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True, scope="session")
def student_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Base students of a test session are made once, and never come from the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("RL_DISTILL_CACHE")
    os.environ["RL_DISTILL_CACHE"] = str(folder)
    yield folder
    os.environ.pop("RL_DISTILL_CACHE") if before is None else os.environ.update(RL_DISTILL_CACHE=before)


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> Callable[..., RecipeFile]:
    """Writes a recipe: `tiny_recipe(taught("sft"), rolled_out(), seed=1)`."""

    return partial(write_recipe, tmp_path)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Calls the command line in this process: (exit code, stdout, stderr)."""
    from rl_distill.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call
