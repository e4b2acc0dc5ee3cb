"""Stages that several runs have in common: trained by one of them, taken over by the others as if they had trained them.

Two runs share a stage if all that it is a function of is the same: the student, the seed, every stage up to it, what is measured,
the data, this package's code and what a user adds to it, the libraries, the kind of device. An entry of the store is such a stage
as one run finished it, with the lines of that run's records:

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
from rl_distill.training.fingerprint import hub_revisions, run_digests, used_libraries
from rl_distill.training.run_folder import RECORDS, RunFolder, key_file
from rl_distill.training.source_files import code_digests
from rl_distill.training.stage_run import Records

PACKAGE = Path(__file__).resolve().parents[1]
LIBRARIES = ("transformers", "tokenizers", "numpy", "math_verify")
# On a stage, beside those stages that come before it. Attempts bear the name of the run; alarms are part of a stage's result.
WITHOUT_EFFECT = ("run_dir", "stages", "checkpoints")
MIXED = "mixed"  # in place of a key: begun under one and continued under another


def stage_keys(recipe: Recipe, data: Mapping[str, str] | None = None, *, gpu: bool | None = None) -> dict[str, str]:
    """A digest for each stage, base first: equal where two runs make the same of it, on like machines with as many threads.

    Args:
        data: `run_digests` of the recipe, where they are known.
        gpu: whether it will compute on one; None is what torch finds here.

    Raises:
        InputError: data that the run reads is not there.
    """
    resolved, data = dump(recipe), run_digests(recipe) if data is None else data
    resolved["tracking"] = {"trajectories_every": recipe.tracking.trajectories_every}
    common = {key: value for key, value in resolved.items() if key not in WITHOUT_EFFECT}
    stages: list[Mapping[str, Any]] = []
    made_by = {
        "rl_distill": _package_digest(),
        "torch": torch.__version__,
        **{name: version(name) for name in LIBRARIES},
        **used_libraries(recipe),
        "gpu": torch.cuda.is_available() if gpu is None else gpu,
        "hub": hub_revisions(recipe),
    }
    found = {}
    for place, name in enumerate((BASE, *(stage.name for stage in recipe.stages))):
        if place:
            stages.append(resolved["stages"][place - 1] | {"start": recipe.start_of(recipe.stages[place - 1])})
        later = tuple(f"stages.{stage.name}." for stage in recipe.stages[place:])
        read = {key: digest for key, digest in data.items() if not key.startswith(later)}
        content = json.dumps([common, stages, read, code_digests([common, stages]), made_by], sort_keys=True)
        found[name] = hashlib.sha256(content.encode()).hexdigest()[:20]
    return found


def made_under(run_dir: Path, name: str) -> str | None:
    """What `stage_keys` called a stage when a run began it; MIXED if it went on as another, None of one that is not begun."""
    path = key_file(run_dir, name)
    return path.read_text() if path.exists() else None


class SharedStages:
    """The store as one run sees it.

    Args:
        data: `run_digests` of the recipe.
        entries: folders of the stages that it shares, by what `stage_keys` calls them; others it keeps for itself.
    """

    def __init__(self, recipe: Recipe, data: Mapping[str, str], entries: Iterable[Path]) -> None:
        by_key = {entry.name: entry for entry in entries}
        self._keys = stage_keys(recipe, data)
        self._entries = {name: by_key[key] for name, key in self._keys.items() if key in by_key}
        self._names = list(self._keys)

    def begin(self, name: str, folder: RunFolder) -> None:
        """Note what a stage is a function of, before it is made: when it is finished, code or data may be others.

        One that goes on from a checkpoint, or from other stages, of another key is a function of both.
        """
        goes_on = folder.saved_step(name) >= 0
        alike = self._alike_before(name, folder) and (not goes_on or self._is_alike(name, folder))
        folder.write(f"stages/{key_file(folder.path, name).name}", self._keys[name] if alike else MIXED)

    def take(self, name: str, folder: RunFolder, records: Records) -> dict[str, Any] | None:
        """Put a stage into a run's folder if another run has left it; returns its result.

        The order is that of a stage that is trained: a run that is killed in between begins the stage again.
        """
        entry = self._entries.get(name)
        if entry is None or folder.saved_step(name) >= 0 or not self._alike_before(name, folder):
            return None
        if not entry.is_dir() or damage(entry) is not None:
            return None
        self.begin(name, folder)
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
        if entry is None or not self._is_alike(name, folder) or (entry.is_dir() and damage(entry) is None):
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

    def _is_alike(self, name: str, folder: RunFolder) -> bool:
        """Whether a stage of the run is what it would be if it was made now."""
        return made_under(folder.path, name) == self._keys[name]

    def _alike_before(self, name: str, folder: RunFolder) -> bool:
        return all(self._is_alike(earlier, folder) for earlier in self._names[: self._names.index(name)])

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
