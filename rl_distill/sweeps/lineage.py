"""What of a recipe an outcome is a function of."""

from typing import Any

from rl_distill.algorithms.base import REFERENCE_NEEDS, TEACHER_NEEDS
from rl_distill.config import dump
from rl_distill.recipe import Recipe

WITHOUT_EFFECT = ("run_dir", "tracking", "checkpoints")  # on how a run ends


def reduced(recipe: Recipe, outcome: str) -> dict[str, Any]:
    """The tree of a recipe with the stages on the way to `outcome` and to the stage that teaches them, each start spelled out.

    A reference, or a teacher, that none of them looks at goes too.
    """
    needed = set(recipe.lineage(outcome))
    stages = [stage for stage in recipe.stages if stage.name in needed]
    needs = frozenset[Any]().union(*(objective.algorithm.needs for stage in stages for objective in stage.objectives))
    teacher = recipe.teacher if needs & TEACHER_NEEDS else None
    if teacher is not None and recipe.is_student(teacher):
        needed |= set(recipe.lineage(teacher))
    tree: dict[str, Any] = dump(recipe)
    starts = {stage.name: recipe.start_of(stage) for stage in recipe.stages}
    return tree | {
        "stages": [stage | {"start": starts[stage["name"]]} for stage in tree["stages"] if stage["name"] in needed],
        "teacher": teacher,
        "reference": recipe.reference if needs & REFERENCE_NEEDS else None,
    }


def deciding(recipe: Recipe) -> dict[str, Any]:
    """What can make two cells end otherwise: not where a run is saved and who is told of it, and no alarm that stops nothing."""
    tree: dict[str, Any] = dump(recipe)
    stopping = {name: alarm for name, alarm in tree["alarms"].items() if alarm["action"] == "stop"}
    return {key: value for key, value in tree.items() if key not in WITHOUT_EFFECT} | {"alarms": stopping}
