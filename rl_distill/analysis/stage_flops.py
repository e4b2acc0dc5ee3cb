"""FLOPs of a stage from what it counted (`training.work_counts`) and the shapes of its models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from rl_distill.analysis.run_records import RunRecord, StageRecord
from rl_distill.cluster.memory import ModelSize
from rl_distill.errors import InputError
from rl_distill.models.loading import load_settings, skeleton
from rl_distill.models.lora import adapter_weights
from rl_distill.planning.flops import decoding_flops, forward_flops, training_flops
from rl_distill.planning.shape import ModelShape, shape_of
from rl_distill.recipe import BASE
from rl_distill.training.student import SeededModel

Counts = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flops:
    """By what they were for; `teacher` is that of a model which read the student's rows in the run. None: not known."""

    sampling: float | None
    scoring: float | None
    training: float | None
    teacher: float | None
    evaluation: float | None


UNKNOWN = Flops(sampling=None, scoring=None, training=None, teacher=None, evaluation=None)


def flops_of(run: RunRecord, stage: StageRecord) -> tuple[Flops, str]:
    """The FLOPs, and why one of them is not known ("" where all are)."""
    work, evaluations = stage.result["work"], stage.result["evaluations"]
    if stage.result["step"] == 0 and not evaluations:
        return Flops(sampling=0, scoring=0, training=0, teacher=0, evaluation=None if evaluations is None else 0), ""
    shape, why = student_shape(run, stage)
    if shape is None:
        return UNKNOWN, why
    evaluation = None if evaluations is None else _sampled(shape, evaluations)
    if work.get("steps", 0) != stage.result["step"]:
        found = Flops(sampling=None, scoring=None, training=None, teacher=None, evaluation=evaluation)
        return found, "an earlier version of this package, which did not count, made some of its steps"
    reference, why_reference = _scored(run, "reference", work, shape)
    teacher, why_teacher = _scored(run, "teacher", work, shape)
    own = _forward(shape, "proximal", work)
    found = Flops(
        sampling=_sampled(shape, work),
        scoring=None if reference is None else reference + own,
        training=training_flops(shape, **_rows("training", work), checkpointing=_checkpointing(run, stage.name)),
        teacher=teacher,
        evaluation=evaluation,
    )
    return found, why_reference or why_teacher or ("" if evaluation is not None else "its evaluations were not counted")


def student_shape(run: RunRecord, stage: StageRecord) -> tuple[ModelShape | None, str]:
    """Of the student that the stage trained, its adapters included; None and the reason where it cannot be told."""
    kept = [one.student for one in (stage, *run.stages.values()) if one.student is not None]  # all have the same body
    model = run.recipe.student.model
    if not kept and not isinstance(model, str):
        return None, "no student of the run is kept"
    shape, why = _shape_at(kept[0] if kept else Path(str(model)))
    lora = run.recipe.student.lora
    if shape is None or lora is None or stage.name == BASE:
        return shape, why
    plain = skeleton(load_settings(str(kept[0])))
    with torch.device("meta"):
        lora.inject(plain, 0)
    adapters = sum(parameter.numel() for parameter in adapter_weights(plain).values())
    size = ModelSize(trained=adapters, frozen=shape.size.trained, weight_bytes=4)
    return ModelShape(**{name: getattr(shape, name) for name in shape.__slots__} | {"size": size}), ""


def _shape_at(folder: Path | str) -> tuple[ModelShape | None, str]:
    try:
        model = skeleton(load_settings(str(folder)))
        size = ModelSize(trained=sum(one.numel() for one in model.parameters()), frozen=0, weight_bytes=4)
        return shape_of(model, size, tensors=0, outgoing_bytes=0), ""
    except InputError as error:
        return None, f"the shape of {str(folder)!r} is not known ({error.problem})"


def _scored(run: RunRecord, who: str, work: Counts, student: ModelShape) -> tuple[float | None, str]:
    if not work.get(f"{who}/tokens"):
        return 0.0, ""
    name = run.recipe.reference if who == "reference" else run.recipe.teacher
    shape, why = (student, "") if name is None or run.recipe.is_student(name) else _shape_at(name)
    return (None, why) if shape is None else (_forward(shape, who, work), "")


def _forward(shape: ModelShape, who: str, work: Counts) -> float:
    return forward_flops(shape, **_rows(who, work))


def _rows(who: str, work: Counts) -> dict[str, float]:
    return {name: work.get(f"{who}/{name}", 0) for name in ("tokens", "squares", "logits")}


def _sampled(shape: ModelShape, work: Counts) -> float:
    counts = {name: work.get(f"sampling/{name}", 0) for name in ("prompt_tokens", "prompt_squares", "tokens", "context")}
    prompts = forward_flops(shape, tokens=counts["prompt_tokens"], squares=counts["prompt_squares"])
    return prompts + decoding_flops(shape, tokens=counts["tokens"], context=counts["context"])


def _checkpointing(run: RunRecord, name: str) -> bool:
    model = run.recipe.student.model
    if name == BASE:
        pretraining = model.pretraining if isinstance(model, SeededModel) else None
        return pretraining is not None and pretraining.learner.gradient_checkpointing
    return next(stage for stage in run.recipe.stages if stage.name == name).learner.gradient_checkpointing
