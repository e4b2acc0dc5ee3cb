"""A recipe without the stages that an outcome does not need."""

from typing import Any

from rl_distill.algorithms.base import REFERENCE_NEEDS, TEACHER_NEEDS
from rl_distill.config import dump
from rl_distill.recipe import Recipe


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
