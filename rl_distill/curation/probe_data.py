"""Probes in the forms that are trained on and looked at: one turn each, dialogues that end with their problem, and plain rows."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from rl_distill.curation.probe_run import turns_of
from rl_distill.curation.probe_writing import solution_of
from rl_distill.probes import probes_of, probes_to_plain, recorded_probes
from rl_distill.problems.base import teacher_trajectory
from rl_distill.problems.probe_questions import single_probes
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Group, Verdict


def single_turns(groups: Sequence[Group], model: str) -> list[Group]:
    """Every probe that survives as a problem of its own, with the teacher's reply to imitate."""
    return [probe for group in groups for probe in single_probes(group.problem, model)]


def dialogues(groups: Sequence[Group], num_probes: int, seed: int) -> list[Group]:
    """Of every problem with a right attempt: some of its probes with their replies in random order, then this attempt.

    Args:
        num_probes: in a dialogue; a problem with fewer gives all that it has.
    """
    found = []
    for group in groups:
        attempt, probes = solution_of(group), probes_of(group.problem)
        if attempt is None:
            continue
        draw = Random(addressed_seed(seed, "probe_dialogue", group.problem.source, group.problem.id))
        drawn = draw.sample(probes, min(num_probes, len(probes)))
        *before, question, reply = attempt.messages
        turns = [turn for probe in drawn for turn in turns_of(probe)]
        verdict = attempt.score.verdict if attempt.score and attempt.score.verdict else Verdict(status="correct", method="probe")
        trajectory = teacher_trajectory(
            group.problem, (*before, *turns, question, reply), model=attempt.model, verdict=verdict, context="full"
        )
        found.append(Group(problem=group.problem, trajectories=(trajectory,)))
    return found


def plain_rows(groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """One row a problem: its question, gold answer, the solution that probes are about, and all probes with their labels."""
    for group in groups:
        solution = solution_of(group)
        yield {
            "qid": group.problem.id,
            "question": group.problem.prompt,
            "gold": group.problem.answer,
            "teacher_reasoning": None if solution is None else solution.response,
            "probes": probes_to_plain(recorded_probes(group.problem)),
        }
