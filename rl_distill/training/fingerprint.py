"""What a run was made from beside its recipe: the data it reads and the models it starts from."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from rl_distill.models.pretrained import PretrainedModel
from rl_distill.problems.base import data_digests
from rl_distill.recipe import Recipe

SMALL_FILE = 2**20  # bytes; of a larger one only the size is looked at


def run_digests(recipe: Recipe) -> dict[str, str]:
    """Everything that a run reads: stored with it, so that it is not continued on something else."""
    found = data_digests(recipe.student, "student") | data_digests(recipe.evaluation, "evaluation")
    for stage in recipe.stages:
        found |= data_digests(stage, f"stages.{stage.name}")
    student = recipe.student.model
    name = student.path if isinstance(student, PretrainedModel) else student
    for key, model in (("student.model", name), ("reference", recipe.reference), ("teacher", recipe.scoring_teacher)):
        if isinstance(model, str) and Path(model).expanduser().is_dir():
            found[key] = _folder_digest(Path(model).expanduser())
    return found


def _folder_digest(folder: Path) -> str:
    """A model folder by its small files' content and its large files' sizes."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name}\n{size}\n".encode())
        if size <= SMALL_FILE:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def changed(before: dict[str, str], now: dict[str, str]) -> Iterable[str]:
    """Keys whose content is another one now."""
    return (key for key, digest in now.items() if before.get(key, digest) != digest)
