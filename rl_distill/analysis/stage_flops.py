"""FLOPs of a stage from what it counted (`training.work_counts`) and the shapes of its models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rl_distill.analysis.run_records import RunRecord, StageRecord
from rl_distill.errors import InputError
from rl_distill.models.loading import load_settings, skeleton
from rl_distill.models.lora import Lora
from rl_distill.recipe import BASE
from rl_distill.training.flops import sampled_flops, scored_flops, trained_flops
from rl_distill.training.model_shape import ModelShape, counted_shape
from rl_distill.training.student import SeededModel

Counts = Mapping[str, int]


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
    evaluation = None if evaluations is None else sampled_flops(shape, evaluations)
    if work.get("steps", 0) != stage.result["step"]:
        found = Flops(sampling=None, scoring=None, training=None, teacher=None, evaluation=evaluation)
        return found, "an earlier version of this package, which did not count, made some of its steps"
    reference, why_reference = _scored(run, "reference", work, shape)
    teacher, why_teacher = _scored(run, "teacher", work, shape)
    own = scored_flops(shape, "proximal", work)
    found = Flops(
        sampling=sampled_flops(shape, work),
        scoring=None if reference is None else reference + own,
        training=trained_flops(shape, work, checkpointing=_checkpointing(run, stage.name)),
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
    return _shape_at(kept[0] if kept else Path(str(model)), None if stage.name == BASE else run.recipe.student.lora)


def _shape_at(folder: Path | str, lora: Lora | None = None) -> tuple[ModelShape | None, str]:
    try:
        return counted_shape(lambda: skeleton(load_settings(str(folder))), lora), ""
    except InputError as error:
        return None, f"the shape of {str(folder)!r} is not known ({error.problem})"


def _scored(run: RunRecord, who: str, work: Counts, student: ModelShape) -> tuple[float | None, str]:
    if not work.get(f"{who}/tokens"):
        return 0.0, ""
    name = run.recipe.reference if who == "reference" else run.recipe.teacher
    shape, why = (student, "") if name is None or run.recipe.is_student(name) else _shape_at(name)
    return (None, why) if shape is None else (scored_flops(shape, who, work), "")


def _checkpointing(run: RunRecord, name: str) -> bool:
    model = run.recipe.student.model
    if name == BASE:
        pretraining = model.pretraining if isinstance(model, SeededModel) else None
        return pretraining is not None and pretraining.learner.gradient_checkpointing
    return next(stage for stage in run.recipe.stages if stage.name == name).learner.gradient_checkpointing
