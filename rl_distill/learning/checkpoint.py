"""The checkpoints of a stage, and the newest one that is intact."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rl_distill.sealing import damage, sealed


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
