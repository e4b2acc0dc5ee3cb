"""What a curation would ask and spend, before it does."""

from rl_distill.curation.budget import dry_run
from rl_distill.curation.pipeline import STORE, Curation, column_reader, requests_to, store_settings
from rl_distill.curation.recipe import Asking
from rl_distill.curation.store import explain
from rl_distill.curation.teachers import build_teacher
from rl_distill.errors import InputError


def dry_run_lines(curation: Curation) -> list[str]:
    """Rows, prompts and the most that they can cost. The stages before the teacher are made; nobody is asked."""
    asking = _asking(curation)
    build_teacher(asking.teacher, asking.limits.retry)  # what it lacks is said now
    column_reader(asking)
    problems = [group.problem for group in curation.pool()]
    return dry_run(requests_to(asking, problems, curation.recipe.seed), asking.limits.prices)


def cache_lines(curation: Curation) -> list[str]:
    """Whether the answers of this recipe are stored, or in which key the nearest stored ones differ."""
    asking = _asking(curation)
    teacher = build_teacher(asking.teacher, asking.limits.retry)
    return [str(explain(curation.path / STORE, store_settings(asking, teacher, curation.recipe.seed)))]


def _asking(curation: Curation) -> Asking:
    if curation.recipe.generate is None:
        raise InputError("generate", "is not there: nobody is asked, and nothing is stored", "name a teacher, or drop the option")
    return curation.recipe.generate
