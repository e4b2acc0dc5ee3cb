"""What a curation would ask and spend, before it does."""

from collections.abc import Mapping, Sequence
from typing import Any

from rl_distill.curation.budget import Spending, describe, dry_run
from rl_distill.curation.pipeline import STORE, Curation, column_reader, requests_to, store_settings
from rl_distill.curation.probe_asking import respondent_settings
from rl_distill.curation.probe_run import STORE as PROBE_STORE
from rl_distill.curation.probes import Probing
from rl_distill.curation.recipe import Asking
from rl_distill.curation.row_ledger import RowLedger
from rl_distill.curation.store import ResponseStore, explain
from rl_distill.curation.teachers import build_teacher
from rl_distill.errors import InputError
from rl_distill.probes import probes_of, recorded_probes
from rl_distill.trajectory import Problem


def dry_run_lines(curation: Curation) -> list[str]:
    """Rows, prompts and the most that they can cost. The stages before the teacher are made; nobody is asked."""
    asking, probing = _asking(curation), curation.recipe.probes
    if asking is not None:
        build_teacher(asking.teacher, asking.limits.retry)  # what it lacks is said now
        column_reader(asking)
    problems = [group.problem for group in curation.pool()]
    lines = dry_run(requests_to(asking, problems, curation.recipe.seed), asking.limits.prices) if asking else []
    return lines + (_probe_lines(probing, problems) if probing else [])


def cache_lines(curation: Curation) -> list[str]:
    """Whether the answers of this recipe are stored, and of how many rows, or in which key the nearest stored ones differ.

    The stages before the teacher are made: which rows there are depends on them.
    """
    asking, probing, seed = _asking(curation), curation.recipe.probes, curation.recipe.seed
    lines = []
    if asking is not None:
        teacher = build_teacher(asking.teacher, asking.limits.retry)
        settings = store_settings(asking, teacher, seed)
        found = explain(curation.path / STORE, settings)
        lines.append(f"{found}{_rows_stored(curation, asking, settings) if found.is_same else ''}")
    if probing is not None:
        teacher = build_teacher(probing.teacher, probing.limits.retry)
        found = explain(curation.path / PROBE_STORE, respondent_settings(teacher, probing.sampling, seed))
        lines.append(f"probes: {found}")
    return lines


def _rows_stored(curation: Curation, asking: Asking, settings: Mapping[str, Any]) -> str:
    """New problems, further samples and overrides are rows of their own under the same settings."""
    requests = requests_to(asking, [group.problem for group in curation.pool()], curation.recipe.seed)
    with ResponseStore(curation.path / STORE, settings) as store:
        answered = RowLedger(requests, store, asking.limits.retry.max_attempts).num_answered
    return f"; {answered} of {len(requests)} rows have an answer"


def _probe_lines(probing: Probing, problems: Sequence[Problem]) -> list[str]:
    """Bounds alone: what is asked about probes is known only once they are written."""
    build_teacher(probing.teacher, probing.limits.retry)
    per_problem = len(probing.used_rules().rules)
    number = per_problem * sum(not recorded_probes(problem) for problem in problems)
    carried = sum(len(probes_of(problem)) for problem in problems)
    checked = (number + carried) if probing.consistency else 0
    longest = 2 * number * probing.sampling.max_tokens
    longest += checked * probing.consistency.sampling.max_tokens if probing.consistency else 0
    prices = probing.limits.prices
    price = describe(Spending(0, longest, prices.of(0, longest)), prices)
    lines = [
        f"probes: at most {number} written, as many replies, {checked} checks of consistency",
        f"probes: their answers at their longest, without prompts: {price}",
    ]
    if (student := probing.student) is not None:
        rises = (len(problems) + number + carried) * student.rise.num_samples if student.rise else 0
        lines.append(f"probes: at most {number + carried} replies of the base student, {rises} answers to look for leaks")
    return lines


def _asking(curation: Curation) -> Asking | None:
    if curation.recipe.generate is None and curation.recipe.probes is None:
        raise InputError("generate", "is not there: nobody is asked, and nothing is stored", "name a teacher, or drop the option")
    return curation.recipe.generate
