"""The gate before publishing: nothing goes out that a trainer would choke on, or that an evaluation would not forgive."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rl_distill.curation.extract import length_of
from rl_distill.errors import RunError
from rl_distill.probes import probes_of
from rl_distill.trajectory import Group, Problem, Trajectory

if TYPE_CHECKING:
    from rl_distill.curation.recipe import CurationRecipe


def validate(recipe: "CurationRecipe", chosen: Sequence[Group], pairs: Sequence[Group], evaluation: Sequence[Problem]) -> None:
    """
    Raises:
        RunError: what is wrong with the first row that does not pass, and how many do not.
    """
    faults = [*_faults(recipe, chosen), *_pair_faults(pairs), *(_probe_faults(chosen) if recipe.probes else [])]
    if recipe.decontaminate is not None:
        _, hits = recipe.decontaminate.rules.apply([group.problem for group in chosen], evaluation)
        faults += [f"{hit.problem_id!r} is in the evaluation, as {hit.match!r} ({hit.reason})" for hit in hits]
    if faults:
        raise RunError(f"nothing is published: {len(faults)} rows do not pass, the first: {faults[0]}")


def publishable(recipe: "CurationRecipe", attempt: Trajectory) -> bool:
    """Whether an attempt is to be imitated: right, ended by itself, and not too long."""
    fits = recipe.max_tokens is None or length_of(attempt)[0] <= recipe.max_tokens
    return attempt.status == "correct" and attempt.finish_reason == "stop" and fits


def _faults(recipe: "CurationRecipe", groups: Sequence[Group]) -> Iterator[str]:
    seen: set[str] = set()
    for group in groups:
        if group.problem.id in seen:
            yield f"two problems are called {group.problem.id!r}"
        seen.add(group.problem.id)
        for attempt in group.trajectories:
            fault = _fault(recipe, attempt)
            if fault:
                yield f"an attempt at {group.problem.id!r} {fault}"


def _fault(recipe: "CurationRecipe", attempt: Trajectory) -> str:
    roles = [turn.role for turn in attempt.messages]
    if roles[-2:] != ["user", "assistant"]:
        return f"does not end with a question and a reply ({', '.join(roles)})"
    if not attempt.response.strip():
        return "says nothing"
    if attempt.status is None:
        return "has no verdict"
    if recipe.reasoning.required and publishable(recipe, attempt) and not recipe.reasoning.is_marked(attempt.response):
        return "does not mark its reasoning"
    return ""


def _probe_faults(groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        probes = probes_of(group.problem)
        if not probes:
            yield f"{group.problem.id!r} has no probe that may be asked"
        for probe in probes:
            if not (probe.text.strip() and probe.teacher_reply.strip() and probe.teacher_answer.strip()):
                yield f"the probe {probe.rule!r} of {group.problem.id!r} lacks its text, its reply or its answer"


def _pair_faults(pairs: Sequence[Group]) -> Iterator[str]:
    for group in pairs:
        statuses = [attempt.status for attempt in group.trajectories]
        if statuses != ["correct", "wrong"]:
            yield f"the pair of {group.problem.id!r} is {statuses}, not a correct and a wrong attempt"
