"""What a recipe needs of the machines it runs on, told before anything is started on them."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from rl_distill.algorithms.base import REFERENCE_NEEDS, TEACHER_NEEDS
from rl_distill.cluster.installation import check_cluster_libraries
from rl_distill.cluster.machine import Machine, this_machine
from rl_distill.cluster.memory import ModelSize, check_memory, in_words, rank_memory
from rl_distill.cluster.settings import LocalCluster, RayCluster, WorkerPlaces
from rl_distill.errors import InputError
from rl_distill.models.loading import load_settings, skeleton
from rl_distill.models.lora import adapter_weights
from rl_distill.recipe import Recipe
from rl_distill.rollout.engine import torch_dtype
from rl_distill.rollout.hf_engine import HfEngineConfig
from rl_distill.rollout.token_ban import VocabularyBans
from rl_distill.rollout.vllm_config import GPU_MEMORY_FRACTION, VllmEngineConfig, check_vllm
from rl_distill.training.rollout_source import RolloutSourceConfig
from rl_distill.training.stages import Objective
from rl_distill.training.student import SeededModel, Student


def preflight(recipe: Recipe, tokenizer: Any) -> ModelSize:
    """See that the libraries are here and the engine can host the student; returns how large the student is.

    Raises:
        InputError: one line with what is missing or does not fit.
    """
    if isinstance(recipe.cluster, RayCluster):
        check_cluster_libraries()
    model = student_skeleton(recipe.student, tokenizer)
    if "engine" in recipe.roles:
        check_engine(recipe, model)
    if recipe.evaluation is not None:
        VocabularyBans(tokenizer).ban(recipe.evaluation.sampling.banned)
    size = model_size(recipe, model)
    if isinstance(recipe.cluster, RayCluster) and recipe.cluster.address is None:
        check_memory(recipe.cluster, size, [this_machine()], recipe.roles)
    return size


def student_skeleton(student: Student, tokenizer: Any) -> Any:
    """The student on the meta device, without adapters."""
    model = student.model
    if isinstance(model, SeededModel):
        with torch.device("meta"):
            built = model.build(tokenizer)
        built.config.architectures = [type(built).__name__]  # as it will stand in the saved folder
        return built
    return skeleton(load_settings(model) if isinstance(model, str) else model.settings())


def check_engine(recipe: Recipe, model: Any) -> None:
    """
    Args:
        model: the student's `student_skeleton`.

    Raises:
        InputError: the recipe's engine is not installed, or cannot host the student.
    """
    engine: Any = recipe.engine
    if isinstance(engine, VllmEngineConfig):
        check_vllm(engine, model.config)
    if isinstance(engine, HfEngineConfig):
        from rl_distill.rollout.decode_support import check_layers

        check_layers(model)
    elif isinstance(recipe.cluster, LocalCluster):
        remedy = "add cluster.name=ray, or use engine.name=hf"
        raise InputError("engine.name", f"{engine.name!r} needs a process of its own", remedy)
    if isinstance(recipe.cluster, RayCluster):
        _check_parts(recipe.cluster, engine_gpus(recipe))
        _check_transport(recipe.cluster.transport, engine)


def check_devices(recipe: Recipe, machines: Sequence[Machine], size: ModelSize) -> None:
    """
    Raises:
        InputError: a GPU is asked for by name or needed by the transport of weights, and there is none; or a learner rank and
            an engine worker do not fit on the GPU that they share.
    """
    if devices := [amount for machine in machines for amount in machine.device_bytes]:
        _check_shared_device(recipe, max(devices), size)
        return
    if isinstance(recipe.cluster, RayCluster) and recipe.cluster.transport != "object_store" and "engine" in recipe.roles:
        problem = f"is {recipe.cluster.transport!r}, which goes from GPU to GPU, and the cluster has none"
        raise InputError("cluster.transport", problem, "set it to object_store")
    named = {f"stages.{stage.name}.learner.device": stage.learner.device for stage in recipe.stages}
    if "engine" in recipe.roles:
        named["engine.device"] = getattr(recipe.engine, "device", "auto")
    for field, device in named.items():
        if device == "cuda":
            raise InputError(field, "is 'cuda', and torch finds no GPU here", "set it to auto or cpu")


def model_size(recipe: Recipe, model: Any) -> ModelSize:
    """Of the stage that trains most. `model` is the student's `student_skeleton`, and has its adapters afterwards."""
    student = recipe.student
    total = sum(parameter.numel() for parameter in model.parameters())
    adapters = total
    if student.lora is not None and not (isinstance(student.model, SeededModel) and student.model.pretraining):
        with torch.device("meta"):
            student.lora.inject(model, 0)
        adapters = sum(parameter.numel() for parameter in adapter_weights(model).values())
    frozen = 0 if adapters == total else total
    return ModelSize(
        trained=adapters,
        frozen=frozen,
        weight_bytes=torch_dtype(recipe.engine.dtype).itemsize,
        scoring=_largest_scorer(recipe, total),
    )


def scoring_models(recipe: Recipe, objective: Objective) -> list[tuple[str, str | None]]:
    """Who scores an objective's rows: ("reference" or "teacher", folder or hub name, None for a student of this run)."""
    asked = [
        ("reference", recipe.reference, REFERENCE_NEEDS),
        ("teacher", recipe.scoring_teacher, TEACHER_NEEDS),
    ]
    return [
        (field, None if name is None or recipe.is_student(name) else name)
        for field, name, needs in asked
        if objective.algorithm.needs & needs & recipe.scored_needs
    ]


def scoring_skeleton(field: str, name: str) -> Any | None:
    """A reference or teacher on the meta device; None where its configuration cannot be read here and now."""
    try:
        return skeleton(load_settings(name, field=field))
    except InputError:
        return None


def _largest_scorer(recipe: Recipe, student: int) -> int | None:
    """Number of weights; a model that cannot be read counts like a student of the run, as none at all."""
    objectives = (objective for stage in recipe.stages for objective in stage.objectives)
    names = {pair for objective in objectives for pair in scoring_models(recipe, objective)}
    found = [None if name is None else scoring_skeleton(field, name) for field, name in names]
    if all(model is None for model in found):
        return None
    return max(student if model is None else sum(weights.numel() for weights in model.parameters()) for model in found)


def engine_gpus(recipe: Recipe) -> int:
    """Devices that one engine worker needs, where there are any."""
    engine: Any = recipe.engine
    return engine.tensor_parallel if isinstance(engine, VllmEngineConfig) else 1


def ineffective_keys(recipe: Recipe, machines: Sequence[Machine]) -> Iterator[str]:
    """A line for each key of `cluster` that changes nothing on these hosts: recipes that differ may share a block of them."""
    settings, roles = recipe.cluster, recipe.roles
    if not isinstance(settings, RayCluster):
        return
    num_devices, num_hosts = sum(len(machine.device_bytes) for machine in machines), len(machines)
    if settings.learner.offload != "none" and not num_devices:
        yield "cluster.learner.offload: has no effect, for the cluster has no GPU and everything is in host memory already"
    if settings.colocate and not num_devices:
        yield "cluster.colocate: has no effect, for the cluster has no GPU to share"
    if settings.transport != "object_store" and "engine" not in roles:
        yield "cluster.transport: has no effect, for nothing is sampled"
    if settings.placement == "spread" and num_hosts == 1:
        yield "cluster.placement: spread has no effect on one host"
    if settings.scorer != WorkerPlaces() and "scorer" not in roles:
        yield "cluster.scorer: has no effect, for no stage's algorithm compares with a reference or learns from a teacher"
    if settings.engine != WorkerPlaces() and "engine" not in roles:
        yield "cluster.engine: has no effect, for nothing is sampled"


def _check_shared_device(recipe: Recipe, device: int, size: ModelSize) -> None:
    """vLLM takes its share of a GPU when it starts, whoever is there already."""
    settings, engine = recipe.cluster, recipe.engine
    if not (isinstance(settings, RayCluster) and settings.colocate and isinstance(engine, VllmEngineConfig)):
        return
    if engine.kv_cache_gib is None and "engine" in recipe.roles:
        rank, taken = rank_memory(size, settings.learner).device, (engine.gpu_memory_fraction or GPU_MEMORY_FRACTION) * device
        if rank + taken > device:
            problem = f"takes {in_words(taken)} of the GPU that a learner rank needs {in_words(rank)} of (cluster.colocate)"
            remedy = f"set it below {1 - rank / device:.2f}" if rank < device else "set cluster.colocate to false"
            raise InputError("engine.gpu_memory_fraction", f"{problem}, and it has {in_words(device)}", remedy)


def _check_parts(settings: RayCluster, parts: int) -> None:
    """An engine that is cut over several GPUs has whole ones, and enough of them."""
    if parts == 1:
        return
    if settings.colocate:
        problem = f"is true, which leaves each engine half of one GPU, and engine.tensor_parallel is {parts}"
        raise InputError("cluster.colocate", problem, "set it to false, or set engine.tensor_parallel to 1")
    gpus = settings.engine.gpus
    if gpus and gpus != parts:
        problem = f"is {gpus:g}, and engine.tensor_parallel is {parts}: each engine needs {parts}"
        raise InputError("cluster.engine.gpus", problem, f"leave it out, or set it to {parts}")


def _check_transport(transport: str, engine: Any) -> None:
    if transport != "object_store" and not isinstance(engine, VllmEngineConfig):
        problem = f"is {transport!r}, which leads into vLLM, and engine.name is {engine.name!r}"
        raise InputError("cluster.transport", problem, "set it to object_store, or set engine.name to vllm")


def idle_workers(recipe: Recipe) -> Iterator[str]:
    """A line for each source whose steps make fewer shards than there are engine workers."""
    workers = recipe.cluster.engine.workers if isinstance(recipe.cluster, RayCluster) else 1
    size = recipe.engine.shard_size
    for stage in recipe.stages:
        for objective in stage.objectives:
            source = objective.source
            if not isinstance(source, RolloutSourceConfig):
                continue
            requests = source.prompts_per_step * source.group_size
            shards = math.ceil(requests / size)
            if shards < workers:
                yield (
                    f"stages.{stage.name}: the {requests} attempts of a step make fewer shards ({shards}) than there are engine "
                    f"workers ({workers}); set engine.shard_size to {math.ceil(requests / workers)}, which changes a run's record"
                )
