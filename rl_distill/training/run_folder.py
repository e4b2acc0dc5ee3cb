"""The folder of a run: what makes it this run and no other, and who may write into it."""

import fcntl
import json
import os
import platform
import sys
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml

from rl_distill import __version__
from rl_distill.config import dump
from rl_distill.errors import InputError
from rl_distill.recipe import Recipe

NOT_COMPARED = ("run_dir", "tracking")  # keys that may change when a run is continued: no number depends on them


class RunFolder:
    """An open run folder, held by one process at a time.

    recipe.yaml          the resolved recipe
    environment.json     versions, machine and command of the process that opened it last
    metrics.jsonl        one line a step
    ledger.jsonl         every group trained on, once
    trajectories/        sampled attempts, one file a stage
    checkpoints/STAGE/   what a stage needs to go on
    stages/STAGE/        a finished stage: student/ (Hugging Face format), result.json, evaluation.jsonl
    final/               the last stage's student
    summary.json         the table
    """

    def __init__(self, recipe: Recipe) -> None:
        """
        Raises:
            InputError: the folder cannot be written, is in use, or holds a run of another recipe.
        """
        self.path = recipe.folder
        resolved = dump(recipe)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            self._check_same(resolved)
            self.write("recipe.yaml", yaml.safe_dump(resolved, sort_keys=False))
            self.write("environment.json", json.dumps(environment(), indent=2))
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                "run_dir", f"{str(self.path)!r} cannot be written ({reason})", "choose another with run_dir=PATH"
            ) from None

    def stage(self, name: str) -> Path:
        return self.path / "stages" / name

    def checkpoints(self, name: str) -> Path:
        return self.path / "checkpoints" / name

    def run_id(self) -> str:
        """An id of the run that stays over resumes."""
        path = self.path / ".run_id"
        if not path.exists():
            self.write(".run_id", uuid.uuid4().hex[:8])
        return path.read_text()

    def write(self, name: str, text: str) -> None:
        """Put a small file into the folder, whole or not at all."""
        working = self.path / f".{name}.tmp"
        working.write_text(text)
        working.replace(self.path / name)

    def close(self) -> None:
        self._lock.close()

    def _locked(self) -> TextIO:
        lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "run_dir", f"{str(self.path)!r} is in use by another process", "wait for it, or choose another run_dir"
            ) from None
        return lock

    def _check_same(self, resolved: Mapping[str, Any]) -> None:
        saved = self.path / "recipe.yaml"
        if not saved.exists():
            return
        try:
            before = yaml.safe_load(saved.read_text())
        except yaml.YAMLError:
            raise InputError("run_dir", f"{str(saved)!r} is damaged", "remove the run folder or choose another run_dir") from None
        for key, then, now in _differences(before, resolved):
            if key.split(".")[0] not in NOT_COMPARED:
                raise InputError(
                    "run_dir",
                    f"{str(self.path)!r} holds a run of another recipe ({key} is {then!r} there and {now!r} here)",
                    "choose another with run_dir=PATH, or remove the folder",
                )


def environment() -> dict[str, Any]:
    """What a run depends on beside its recipe."""
    return {
        "rl_distill": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": sys.argv,
    }


def _differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differences(old, new, f"{path}.{new.get('name', index) if isinstance(new, Mapping) else index}")
    elif before != now:
        yield path, before, now
