"""Folders that are there whole or not at all, and the newest one that is intact."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.\d+\.(?P<kind>tmp|old)")


@contextmanager
def sealed(target: Path) -> Iterator[Path]:
    """Write a folder under a temporary name; leaving the block puts checksums into it and renames it into place.

    An existing target is replaced. A process that dies in between leaves the target as it was, and beside it what
    `clear_leftovers` removes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    working = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir()
    try:
        yield working
        sums = {str(path.relative_to(working)): _sha256(path) for path in sorted(working.rglob("*")) if path.is_file()}
        (working / MANIFEST).write_text(json.dumps(sums, indent=1))
        for path in (*working.rglob("*"), working):
            _sync(path)
        replaced = target.with_name(f".{target.name}.{os.getpid()}.old")
        if target.exists():
            target.rename(replaced)
        working.rename(target)
        _sync(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise


def clear_leftovers(folder: Path) -> None:
    """Remove what dead processes left of folders they were sealing. Only for a folder that no other process writes into."""
    for path in folder.glob(".*"):
        match = _LEFTOVER.fullmatch(path.name)
        if match is None:
            continue
        target = folder / match["name"]
        if match["kind"] == "old" and not target.exists():
            path.rename(target)  # the process died after it had moved the target aside and before it had replaced it
        else:
            shutil.rmtree(path)


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, or None if every byte is as it was written."""
    try:
        sums = json.loads((folder / MANIFEST).read_text())
        broken = [name for name, digest in sums.items() if _sha256(folder / name) != digest]
    except (OSError, ValueError, AttributeError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"{broken[0]} does not match its checksum" if broken else None


class Checkpoints:
    """The checkpoints of one stage: `step-00000010/` and so on, each sealed and complete.

    Args:
        keep_last: how many of the newest stay.
        keep_best: whether the one with the highest score stays too.
    """

    def __init__(self, folder: Path, *, keep_last: int = 2, keep_best: bool = True) -> None:
        self.folder, self.keep_last, self.keep_best = folder, keep_last, keep_best

    def save(self, step: int, state: dict[str, Any], write: Callable[[Path], None], *, score: float | None = None) -> Path:
        """Seal a checkpoint: `write` puts the learner's files into the folder, `state` is everything else (JSON)."""
        target = self.folder / f"step-{step:08d}"
        with sealed(target) as working:
            write(working)
            (working / "state.json").write_text(json.dumps({**state, "step": step, "score": score}))
        self._prune()
        return target

    def latest(self, warn: Callable[[str], None]) -> Path | None:
        """The newest intact checkpoint; each damaged one on the way is moved aside and reported through `warn`."""
        for folder in reversed(self._all()):
            problem = damage(folder)
            if problem is None:
                return folder
            aside = folder.with_name(f"damaged-{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            warn(
                f"checkpoint {folder} is damaged ({problem}); it was moved to {aside.name}, and what was saved before it is used"
            )
        return None

    def has(self, step: int) -> bool:
        return (self.folder / f"step-{step:08d}").is_dir()

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))

    def _prune(self) -> None:
        folders = self._all()
        kept = set(folders[-self.keep_last :])
        scores = {folder: read_state(folder).get("score") for folder in folders} if self.keep_best else {}
        scored = {folder: score for folder, score in scores.items() if score is not None}
        if scored:
            kept.add(max(scored, key=lambda folder: scored[folder]))
        for folder in folders:
            if folder not in kept:
                shutil.rmtree(folder)


def read_state(folder: Path) -> dict[str, Any]:
    """What `Checkpoints.save` was given as `state`, with `step` and `score`; {} if it cannot be read."""
    try:
        return dict(json.loads((folder / "state.json").read_text()))
    except (OSError, ValueError):
        return {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
