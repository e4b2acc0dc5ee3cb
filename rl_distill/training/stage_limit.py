"""What ends a stage of which nobody knows the number of steps: tokens, FLOPs or seconds."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rl_distill.errors import InputError
from rl_distill.recipe import BASE, Recipe
from rl_distill.training.flops import sampled_flops, scored_flops, trained_flops
from rl_distill.training.loop import Limit, Progress
from rl_distill.training.model_shape import ModelShape, counted_shape
from rl_distill.training.preflight import scoring_models, scoring_skeleton, student_skeleton
from rl_distill.training.stages import Training


def limit_of(recipe: Recipe, name: str, training: Training, tokenizer: Any) -> Limit | None:
    """None where `steps` or `epochs` give the stage's length.

    Raises:
        InputError: FLOPs are to be counted of a model whose shape is not known.
    """
    if training.max_flops is not None:
        return Limit(amount=_flops(recipe, name, training, tokenizer), most=training.max_flops)
    if training.max_generated_tokens is not None:
        return Limit(amount=lambda progress: progress.generated_tokens, most=training.max_generated_tokens)
    if training.max_trained_tokens is not None:
        return Limit(amount=lambda progress: progress.trained_tokens, most=training.max_trained_tokens)
    if training.max_seconds is not None:
        return Limit(amount=lambda progress: progress.seconds, most=training.max_seconds)
    return None


def _flops(recipe: Recipe, name: str, training: Training, tokenizer: Any) -> Callable[[Progress], float]:
    """As `rl-distill costs` counts a stage: what the student did, and those who read along; evaluations left out."""
    lora = None if name == BASE else recipe.student.lora
    student = counted_shape(partial(student_skeleton, recipe.student, tokenizer), lora)
    asked = {who: other for objective in training.objectives for who, other in scoring_models(recipe, objective)}
    readers = {"proximal": student} | {
        who: student if other is None else _reader(name, who, other) for who, other in asked.items()
    }
    checkpointing = training.learner.gradient_checkpointing

    def amount(progress: Progress) -> float:
        own = sampled_flops(student, progress.work) + trained_flops(student, progress.work, checkpointing=checkpointing)
        return own + sum(scored_flops(shape, who, progress.work) for who, shape in readers.items())

    return amount


def _reader(stage: str, who: str, name: str) -> ModelShape:
    found = scoring_skeleton(who, name)
    if found is None:
        problem = f"counts what the {who} {name!r} computes, and its shape is not known"
        raise InputError(f"stages.{stage}.max_flops", problem, "give the length in steps, tokens or seconds")
    return counted_shape(lambda: found)
