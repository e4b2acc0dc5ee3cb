"""Stages that several runs have in common: trained by one of them, taken over by the others as if they had trained them.

Two runs share a stage if all that it is a function of is the same: the student, the seed, every stage up to it, what is measured,
the data, this package's code. An entry of the store is such a stage as one run finished it, with the lines of that run's records:

    KEY/stage/     as in the run's `stages/NAME`
    KEY/records/   the stage's part of each record
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rl_distill.config import dump
from rl_distill.recipe import BASE, Recipe
from rl_distill.sealing import MANIFEST, damage, sealed
from rl_distill.training.fingerprint import run_digests
from rl_distill.training.run_folder import RECORDS, RunFolder
from rl_distill.training.stage_run import Records

PACKAGE = Path(__file__).resolve().parents[1]
LIBRARIES = ("transformers", "tokenizers", "numpy", "math_verify")
WITHOUT_EFFECT = ("run_dir", "stages")  # on a stage, beside those stages that come before it; attempts bear the name of the run


def stage_keys(recipe: Recipe) -> dict[str, str]:
    """A digest for each stage, base first: equal where two runs make the same of it, on like machines with as many threads.

    Raises:
        InputError: data that the run reads is not there.
    """
    resolved, data = dump(recipe), run_digests(recipe)
    resolved["tracking"] = {"trajectories_every": recipe.tracking.trajectories_every}
    common = {key: value for key, value in resolved.items() if key not in WITHOUT_EFFECT}
    stages: list[Mapping[str, Any]] = []
    made_by = {"rl_distill": _package_digest(), "torch": torch.__version__, **{name: version(name) for name in LIBRARIES}}
    found = {}
    for place, name in enumerate((BASE, *(stage.name for stage in recipe.stages))):
        if place:
            stages.append(resolved["stages"][place - 1] | {"start": recipe.start_of(recipe.stages[place - 1])})
        later = tuple(f"stages.{stage.name}." for stage in recipe.stages[place:])
        read = {key: digest for key, digest in data.items() if not key.startswith(later)}
        content = json.dumps([common, stages, read, made_by], sort_keys=True)
        found[name] = hashlib.sha256(content.encode()).hexdigest()[:20]
    return found


class SharedStages:
    """The store as one run sees it.

    Args:
        entries: folders of the stages that it shares, by what `stage_keys` calls them; others it keeps for itself.
    """

    def __init__(self, recipe: Recipe, entries: Iterable[Path]) -> None:
        by_key = {entry.name: entry for entry in entries}
        keys = stage_keys(recipe) if by_key else {}
        self._entries = {name: by_key[key] for name, key in keys.items() if key in by_key}
        self._names = list(keys)

    def take(self, name: str, folder: RunFolder, records: Records) -> dict[str, Any] | None:
        """Put a stage into a run's folder if another run has left it; returns its result.

        The order is that of a stage that is trained: a run that is killed in between begins the stage again.
        """
        entry = self._entries.get(name)
        if entry is None or not entry.is_dir() or damage(entry) is not None or folder.saved_step(name) >= 0:
            return None
        start = folder.start(name)
        if not start.exists():
            folder.write(f"stages/{start.name}", json.dumps(records.positions()))
        records.append({record: (entry / "records" / record).read_text() for record in RECORDS})
        with sealed(folder.stage(name)) as working:
            shutil.copytree(entry / "stage", working, dirs_exist_ok=True)
        result: dict[str, Any] = json.loads((folder.stage(name) / "result.json").read_text())
        return result

    def give(self, name: str, folder: RunFolder, records: Records) -> None:
        """Leave a finished stage for the others. Another run may have left the same one, and a third may be reading it."""
        entry = self._entries.get(name)
        if entry is None or (entry.is_dir() and damage(entry) is None):
            return
        records.sync()
        begun, ended = self._stretch(name, folder, records)
        try:
            with sealed(entry) as working:
                shutil.copytree(folder.stage(name), working / "stage", ignore=shutil.ignore_patterns(MANIFEST))
                (working / "records").mkdir()
                for record, path in RECORDS.items():
                    (working / "records" / record).write_bytes(_between(folder.path / path, begun[record], ended[record]))
        except OSError:
            if not entry.is_dir() or damage(entry) is not None:
                raise

    def _stretch(self, name: str, folder: RunFolder, records: Records) -> tuple[dict[str, int], dict[str, int]]:
        """Where the stage's part of the records begins and ends; a base that came from the cache has none."""
        later = (folder.start(other) for other in self._names[self._names.index(name) + 1 :])
        ended = next((json.loads(start.read_text()) for start in later if start.exists()), records.positions())
        start = folder.start(name)
        return (json.loads(start.read_text()) if start.exists() else ended), ended


def _between(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


@cache
def _package_digest() -> str:
    """Of all code: what a stage becomes may depend on any of it."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(PACKAGE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
