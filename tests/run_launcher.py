"""Starts runs that can be killed: a module of its own, since a spawned process imports it by name."""

import multiprocessing
import os
import signal
import traceback
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from tiny_runs import RecipeFile

LOADED_ONCE = ("rl_distill.training.run", "rl_distill.rollout.decode_loop", "transformers.models.llama.modeling_llama")


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

    def finish(self, recipe: RecipeFile) -> None:
        """Run to the end."""
        assert self.wait(self.start(recipe)) == 0, recipe.path.with_suffix(".log").read_text()


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
