"""What a run was made from beside its recipe: the data it reads, the models it starts from, libraries that not every run uses."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rl_distill.cluster.installation import installed
from rl_distill.cluster.settings import RayCluster
from rl_distill.models.pretrained import PretrainedModel
from rl_distill.problems.base import data_digests
from rl_distill.recipe import Recipe
from rl_distill.rollout.vllm_config import VllmEngineConfig, installed_vllm
from rl_distill.training.source_files import file_digest


def run_digests(recipe: Recipe) -> dict[str, str]:
    """Everything that a run reads: stored with it, so that it is not continued on something else."""
    found = data_digests(recipe.student, "student") | data_digests(recipe.evaluation, "evaluation")
    for stage in recipe.stages:
        found |= data_digests(stage, f"stages.{stage.name}")
    folders = {key: Path(model).expanduser() for key, model in given_models(recipe)}
    return found | {f"{key}.files": _folder_digest(folder) for key, folder in folders.items() if folder.is_dir()}


def hub_revisions(recipe: Recipe) -> dict[str, str]:
    """The commit of each model of the hub, as this machine has it; nothing is asked of the network."""
    found = {}
    for key, model in given_models(recipe):
        if not Path(model).expanduser().is_dir() and (revision := _cached_revision(model)) is not None:
            found[key] = revision
    return found


def used_libraries(recipe: Recipe) -> dict[str, Any]:
    """Versions of those that only some recipes use; None is not installed."""
    used: dict[str, Any] = {}
    if isinstance(recipe.engine, VllmEngineConfig):
        used["vllm"] = installed_vllm()
    if recipe.student.lora is not None:
        used["peft"] = installed("peft")
    if isinstance(recipe.cluster, RayCluster):
        used["deepspeed"] = installed("deepspeed")
    return used


def changed(before: dict[str, str], now: dict[str, str]) -> Iterable[str]:
    """Keys whose content is another one now."""
    return (key for key, digest in now.items() if before.get(key, digest) != digest)


def given_models(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(key, folder or hub name) of each model that a run does not make itself."""
    student = recipe.student.model
    name = student.path if isinstance(student, PretrainedModel) else student
    for key, model in (("student.model", name), ("reference", recipe.reference), ("teacher", recipe.scoring_teacher)):
        if isinstance(model, str) and not (key == "teacher" and recipe.is_student(model)):
            yield key, model


def _folder_digest(folder: Path) -> str:
    """A model folder by its files, large ones included: a model that goes on training keeps all its sizes."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{path.name}\n{file_digest(path)}\n".encode())
    return digest.hexdigest()


def _cached_revision(model: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return None  # no hub name: who loads it says so
    return Path(found).parent.name if isinstance(found, str) else None
