"""References and teachers as the planner sees them: models that pass over all rows of a step and learn nothing."""

from dataclasses import dataclass

from rl_distill.cluster.memory import ModelSize
from rl_distill.errors import InputError
from rl_distill.recipe import Recipe
from rl_distill.training.model_shape import ModelShape, shape_of
from rl_distill.training.preflight import scoring_models, scoring_skeleton
from rl_distill.training.stages import Objective

WEIGHT_BYTES = 4  # scorers compute in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringModel:
    """
    name     the recipe's, or "reference" or "teacher" for a student of the run
    assumed  why its shape is the student's where it has one of its own, in words; "" where the shape is its own
    """

    name: str
    shape: ModelShape
    assumed: str = ""


def scored_by(recipe: Recipe, objective: Objective, student: ModelShape) -> list[ScoringModel]:
    """Who scores an objective's rows."""
    return [_scoring_model(field, name, student) for field, name in scoring_models(recipe, objective)]


def _scoring_model(field: str, name: str | None, student: ModelShape) -> ScoringModel:
    if name is None:
        return ScoringModel(name=field, shape=student)
    model = scoring_skeleton(field, name)
    if model is None:
        return ScoringModel(name=name, shape=student, assumed="its configuration cannot be read here")
    weights = sum(parameter.numel() for parameter in model.parameters())
    size = ModelSize(trained=0, frozen=weights, weight_bytes=WEIGHT_BYTES)
    try:
        return ScoringModel(name=name, shape=shape_of(model, size, tensors=0, outgoing_bytes=0))
    except InputError:
        return ScoringModel(name=name, shape=student, assumed="the planner counts dense decoders only")
