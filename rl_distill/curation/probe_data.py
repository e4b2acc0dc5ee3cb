"""Probes in the forms that are trained on and looked at: one turn each, dialogues that end with their problem, and plain rows."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from rl_distill.curation.probe_run import turns_of
from rl_distill.curation.probe_writing import solution_of
from rl_distill.probes import Probe, probes_of, probes_to_plain, recorded_probes
from rl_distill.problems.base import teacher_trajectory
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Group, Problem, Verdict


def single_turns(groups: Sequence[Group], model: str) -> list[Group]:
    """Every probe that survives as a problem of its own, with the teacher's reply to imitate."""
    return [
        _pair(group.problem, place, probe, model)
        for group in groups
        for place, probe in enumerate(recorded_probes(group.problem))
        if probe.survives
    ]


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


def _pair(problem: Problem, place: int, probe: Probe, model: str) -> Group:
    own = Problem(
        id=f"{problem.id}#{place}-{probe.rule}",
        prompt=probe.text,
        answer=probe.teacher_answer if probe.answer_kind == "closed" else None,
        source=problem.source,
        metadata={"probe_of": problem.id, "rule": probe.rule},
    )
    verdict = Verdict(status="correct", method="probe", detail="consistent" if probe.consistent else "")
    return Group(problem=own, trajectories=(teacher_trajectory(own, turns_of(probe), model=model, verdict=verdict),))
