"""The whole look: which checks are made of a machine and of a recipe, in their order."""

from collections.abc import Callable

from rl_distill.doctor.cluster_checks import CLUSTER_CHECKS
from rl_distill.doctor.findings import Tally, examine
from rl_distill.doctor.machine_checks import MACHINE_CHECKS
from rl_distill.doctor.recipe_checks import ON_RAY, RECIPE_CHECKS
from rl_distill.doctor.subject import Subject
from rl_distill.recipe import Recipe


def visit(recipe: Recipe | None, say: Callable[[str], None] = print, *, quick: bool = False) -> Tally:
    """Make every check and say what it finds.

    Args:
        recipe: None looks at the machine alone.
        quick: leave out what starts processes, and with it what needs a live cluster.
    """
    subject, tally = Subject(recipe), Tally()
    of_recipe = () if recipe is None else ON_RAY if subject.runs_on_ray else RECIPE_CHECKS
    checks = (*MACHINE_CHECKS, *CLUSTER_CHECKS, *of_recipe)
    try:
        for line in examine(checks, subject, tally, quick=quick):
            say(line)
    finally:
        subject.close()
    return tally
