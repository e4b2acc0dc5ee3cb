"""The folder of a run: what makes it this run and no other, and who may write into it."""

import fcntl
import json
import os
import platform
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml

from rl_distill import __version__
from rl_distill.cluster.host import WORKERS
from rl_distill.config import dump
from rl_distill.errors import InputError
from rl_distill.recipe import BASE, Recipe
from rl_distill.sealing import clear_leftovers
from rl_distill.training.fingerprint import changed

# Keys that may change when a run is continued. No number depends on them beyond rounding: what `cluster` changes in the layout is
# said when a run goes on elsewhere.
NOT_COMPARED = ("run_dir", "tracking", "alarms", "checkpoints", "cluster", "sync")
RECORDS = {
    "metrics": "metrics.jsonl",
    "ledger": "ledger.jsonl",
    "schedule": "schedule.jsonl",
    "trajectories": "trajectories/rollouts.jsonl",
}
LOCK, SCRATCH, STOPPED, REPLAY = ".lock", ".open-", "stopped", ".replay_of"
LOCK_SECONDS = 0.5  # that a lock may be held by who only looks whether it is held: `rl-distill status`
NUMERIC_PLACES = re.compile(r"cluster\.(learner\.|\w+\.(gpus|threads)$)")  # keys on which rounding depends
NUMERIC_ENVIRONMENT = ("rl_distill", "torch", "transformers", "tokenizers", "numpy", "math_verify", "torch_threads", "gpu")


class RunFolder:
    """An open run folder, held by one process at a time.

    recipe.yaml          the resolved recipe
    data.json            digests of the data and model folders it reads
    environment.json     versions, machine and command of the process that opened it last
    metrics.jsonl        one line a step
    ledger.jsonl         every group trained on, once
    schedule.jsonl       every shard of requests: who sampled it, with which weights from which step of decoding on
    trajectories/        rollouts.jsonl: sampled attempts in full with their advantages, of every so many steps
    checkpoints/STAGE/   what a stage needs to go on
    stages/STAGE/        a finished stage: student/ (Hugging Face format), result.json, evaluation.jsonl
    final/               the last stage's student
    stopped/             of a replay that was told to stop: student/ as it was after that step
    replay/              the newest replay of this run, unless it was put elsewhere
    summary.json         the table; it is there only if the run has come to its end
    dialogues.html       of a run with probe dialogues: a page to look at them
    workers.json         the living workers of a cluster, while a run works
    logs/                what they print, a file each; stacks.txt when one was silent for too long
    """

    def __init__(self, recipe: Recipe) -> None:
        """
        Raises:
            InputError: the folder cannot be written, is in use, or holds a run of another recipe.
        """
        self.path = recipe.folder
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._check_ours()
            self._lock = self._locked()
        except OSError as error:
            raise self._refused(f"cannot be written ({error.strerror or error})", "choose another with run_dir=PATH") from None
        try:
            self._open(dump(recipe))
        except BaseException:
            self.close()
            raise

    def _open(self, resolved: dict[str, Any]) -> None:
        self._check_same(resolved)
        for folder in (self.path, self.path / "stages", *self.path.glob("checkpoints/*")):
            clear_leftovers(folder)
        for scratch in self.path.glob(f"{SCRATCH}*"):
            shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
        (self.path / WORKERS).unlink(missing_ok=True)
        self._drop_unsaved_steps()
        moved = self._moved(resolved)
        self.write("recipe.yaml", yaml.safe_dump(resolved, sort_keys=False))
        now = environment()
        self.changed = self._changed_environment(now) + moved
        self.write("environment.json", json.dumps(now, indent=2))

    def begin(self) -> None:
        """Training is about to start: the summary of a shorter run must not outlive the failure of a longer one."""
        (self.path / "summary.json").unlink(missing_ok=True)

    def stage(self, name: str) -> Path:
        return self.path / "stages" / name

    def checkpoints(self, name: str) -> Path:
        return self.path / "checkpoints" / name

    def saved_step(self, name: str) -> int:
        """Of a stage's newest checkpoint; -1 without any."""
        return max((int(path.name.removeprefix("step-")) for path in self.checkpoints(name).glob("step-*")), default=-1)

    def start(self, name: str) -> Path:
        """Where the run's records stood when a stage began."""
        return self.path / "stages" / f".{name}.start.json"

    def forget(self, name: str) -> None:
        """Remove all that was saved of a stage, if anything was."""
        for folder in (self.stage(name), self.checkpoints(name)):
            if folder.exists():
                shutil.rmtree(folder)
        self.start(name).unlink(missing_ok=True)
        key_file(self.path, name).unlink(missing_ok=True)

    def check_data(self, digests: dict[str, str]) -> None:
        """Remember what the run reads, and refuse to continue it on anything else.

        Raises:
            InputError: a data set or a model folder is not what it was.
        """
        saved = self.path / "data.json"
        before = json.loads(saved.read_text()) if saved.exists() else {}
        for key in changed(before, digests):
            raise self._refused(f"was made with other data at {key}", "restore that data, or choose another with run_dir=PATH")
        self.write("data.json", json.dumps(before | digests, indent=1))

    def run_id(self) -> str:
        """An id of the run that stays over resumes."""
        path = self.path / ".run_id"
        if not path.exists():
            self.write(".run_id", uuid.uuid4().hex[:8])
        return path.read_text()

    def write(self, name: str, text: str) -> None:
        """Put a small file into the folder, whole or not at all."""
        target = self.path / name
        target.parent.mkdir(exist_ok=True)
        working = target.with_name(f".{target.name}.tmp")
        working.write_text(text)
        working.replace(target)

    def close(self) -> None:
        self._lock.close()

    def _moved(self, resolved: Mapping[str, Any]) -> list[str]:
        """What the last process had otherwise about where the run's parts live."""
        saved = self.path / "recipe.yaml"
        before = yaml.safe_load(saved.read_text()) if saved.exists() else {}
        then, now = before.get("cluster"), resolved["cluster"]
        if then is None or then == now:
            return []
        if then.get("name") != now.get("name"):
            return [f"cluster.name was {then.get('name')!r} and is {now.get('name')!r}"]
        places = _differences({"cluster": then}, {"cluster": now})
        return [f"{key} was {_short(old)} and is {_short(new)}" for key, old, new in places if NUMERIC_PLACES.match(key)]

    def _changed_environment(self, now: Mapping[str, Any]) -> list[str]:
        """What the last process that worked here had otherwise and numbers may depend on."""
        try:
            before = json.loads((self.path / "environment.json").read_text())
        except (OSError, ValueError):
            return []
        return [
            f"{key} was {before.get(key)!r} and is {now[key]!r}" for key in NUMERIC_ENVIRONMENT if before.get(key) != now[key]
        ]

    def _locked(self) -> TextIO:
        lock = (self.path / LOCK).open("a+")
        ends = time.monotonic() + LOCK_SECONDS
        while not _taken(lock):
            if time.monotonic() > ends:
                owner = lock_owner(self.path) or "another process"
                lock.close()
                raise self._refused(f"is in use by {owner}", "wait for it, or choose another with run_dir=PATH")
            time.sleep(LOCK_SECONDS / 10)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on host {platform.node()}")
        lock.flush()
        return lock

    def _check_ours(self) -> None:
        """A folder with anything but a run in it is somebody else's: nothing in it is touched."""
        foreign = {path.name for path in self.path.iterdir()} - {LOCK, ".recipe.yaml.tmp"}
        if foreign and not (self.path / "recipe.yaml").exists():
            raise self._refused(f"is not empty and holds no run ({min(foreign)!r} is there)", "choose another with run_dir=PATH")

    def _check_same(self, resolved: Mapping[str, Any]) -> None:
        """A recipe may change in what nothing that is saved depends on: the stages after the last one that has a saved step."""
        saved = self.path / "recipe.yaml"
        if not saved.exists():
            return
        try:
            before = yaml.safe_load(saved.read_text())
            stages = [stage["name"] for stage in before["stages"]]
        except (ValueError, yaml.YAMLError, TypeError, KeyError):
            raise self._refused("holds a damaged recipe.yaml", "restore that file, or choose another with run_dir=PATH") from None
        saved_stages = [place for place, name in enumerate((BASE, *stages)) if self._has_saved(name)]
        if not saved_stages:
            return
        count = max(saved_stages)  # base comes before the first of `stages`
        for key, then, now in _differences(_fixed(before, count), _fixed(resolved, count)):
            raise self._refused(
                f"holds a run of another recipe ({key} is {_short(then)} there and {_short(now)} here)",
                "choose another with run_dir=PATH, or remove the folder",
            )

    def _has_saved(self, name: str) -> bool:
        return self.stage(name).exists() or any(self.checkpoints(name).glob("step-*"))

    def _drop_unsaved_steps(self) -> None:
        """Cut the records back to where a stage began of which no step was saved: it begins again, and may be another one.

        What later stages recorded stands behind that point, so they are done again too.
        """
        paths = (self.path / "stages").glob(".*.start.json")
        starts = {path.name.removeprefix(".").removesuffix(".start.json"): json.loads(path.read_text()) for path in paths}
        for name, offsets in sorted(starts.items(), key=lambda item: item[1]["metrics"]):
            if self._has_saved(name) or not self.start(name).exists():
                continue
            for later, begun in starts.items():
                if begun["metrics"] >= offsets["metrics"]:
                    self.forget(later)
            for record, offset in offsets.items():
                path = self.path / RECORDS[record]
                if path.exists() and path.stat().st_size > offset:
                    os.truncate(path, offset)

    def _refused(self, problem: str, remedy: str) -> InputError:
        return InputError("run_dir", f"{str(self.path)!r} {problem}", remedy)


def key_file(run_dir: Path, name: str) -> Path:
    """Says what a stage is a function of, as `training.shared_stages` has it."""
    return run_dir / "stages" / f".{name}.key"


def _taken(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_owner(run_dir: Path) -> str:
    """Who works in a run folder, or did so last, as the lock says; empty if nobody ever did."""
    path = run_dir / LOCK
    return path.read_text() if path.exists() else ""


def environment() -> dict[str, Any]:
    """What a run depends on beside its recipe."""
    return {
        "rl_distill": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in ("transformers", "tokenizers", "numpy", "math_verify")},
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": sys.argv,
    }


def _fixed(recipe: Mapping[str, Any], num_stages: int) -> dict[str, Any]:
    """What must stay as it is when the first so many stages have begun."""
    kept = {key: value for key, value in recipe.items() if key not in NOT_COMPARED}
    return kept | {"stages": {stage["name"]: stage for stage in recipe["stages"][:num_stages]}}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differences(old, new, f"{path}.{index}")
    elif before != now:
        yield path, before, now
