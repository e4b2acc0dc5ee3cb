"""What a curation would ask and spend, before it does."""

from rl_distill.curation.budget import dry_run
from rl_distill.curation.pipeline import STORE, Curation
from rl_distill.curation.store import explain
from rl_distill.curation.teacher import Teacher
from rl_distill.curation.teachers import build_teacher
from rl_distill.errors import InputError


def dry_run_lines(curation: Curation) -> list[str]:
    """Rows, prompts and the most that they can cost. The stages before the teacher are made; nobody is asked."""
    recipe = curation.recipe
    _teacher(curation)
    requests = curation.requests([group.problem for group in curation.pool()])
    return dry_run(requests, recipe.generation.prices)


def cache_lines(curation: Curation) -> list[str]:
    """Whether the answers of this recipe are stored, or in which key the nearest stored ones differ."""
    return [str(explain(curation.path / STORE, curation.store_settings(_teacher(curation))))]


def _teacher(curation: Curation) -> Teacher:
    recipe = curation.recipe
    if recipe.teacher is None:
        raise InputError("teacher", "is not named: nobody is asked, and nothing is stored", "name one, or drop the option")
    return build_teacher(recipe.teacher, recipe.generation.retry)
