"""The probes of a pool of problems: which are still in play, and what a stage makes of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rl_distill.curation.drop import Drop
from rl_distill.curation.stage_folder import StageResult
from rl_distill.probes import Probe, probes_of, probes_to_plain, recorded_probes
from rl_distill.trajectory import Group, Problem

Place = tuple[int, int]  # of the problem in the pool, of the probe among its problem's


@dataclass(frozen=True, slots=True)
class PlacedProbe:
    """A probe, its problem, and where both stand."""

    place: Place
    problem: Problem
    probe: Probe

    def dropped(self, stage: str, reason: str, detail: str = "", match: str = "") -> Drop:
        source = self.problem.source
        return Drop(
            stage=stage,
            problem_id=self.problem.id,
            source=source,
            reason=reason,
            detail=detail,
            match=match,
            probe=self.probe.rule,
        )


def surviving(groups: Sequence[Group]) -> list[PlacedProbe]:
    """The probes that may still be asked, problem by problem."""
    return [
        PlacedProbe((index, place), group.problem, probe)
        for index, group in enumerate(groups)
        for place, probe in enumerate(recorded_probes(group.problem))
        if probe.survives
    ]


def with_probes(problem: Problem, probes: Sequence[Probe]) -> Problem:
    return replace(problem, metadata={**problem.metadata, "probes": probes_to_plain(probes)})


def settled(
    stage: str, groups: Sequence[Group], outcomes: Mapping[Place, Probe | Drop], *, label: str = "", facts: Mapping[str, Any]
) -> StageResult:
    """The pool after a stage has looked at some of its probes.

    Args:
        outcomes: each of these with what the stage has written into it, or why it leaves the record. Others stay as they are.
        label: in a word, why a probe that comes back can no longer be asked.
        facts: beside `lost` and `probes`, which are counted here.
    """
    rows, drops = [], []
    lost: Counter[tuple[str, str]] = Counter()
    for index, group in enumerate(groups):
        kept: list[Probe] = []
        for place, before in enumerate(recorded_probes(group.problem)):
            after = outcomes.get((index, place), before)
            if isinstance(after, Drop):
                drops.append(after)
                lost[before.rule, after.reason] += 1
                continue
            kept.append(after)
            lost[before.rule, label] += before.survives and not after.survives
        rows.append(replace(group, problem=with_probes(group.problem, kept)))
    reasons: dict[str, dict[str, int]] = {}
    for (rule, reason), times in sorted(lost.items()):
        if times:
            reasons.setdefault(rule, {})[reason] = times
    return with_survivors(stage, rows, drops, {**facts, "lost": reasons})


def with_survivors(stage: str, groups: Sequence[Group], drops: Sequence[Drop], facts: Mapping[str, Any]) -> StageResult:
    """The problems that still have a probe to ask; the others are left out."""
    kept = [group for group in groups if probes_of(group.problem)]
    reasons: dict[str, Counter[str]] = {}
    for drop in drops:
        reasons.setdefault(drop.problem_id, Counter())[drop.reason] += 1
    gone = [
        problem_dropped(stage, group.problem, "no_probe_left", _told(group.problem, reasons.get(group.problem.id, Counter())))
        for group in groups
        if not probes_of(group.problem)
    ]
    return StageResult(groups=kept, drops=[*drops, *gone], facts={**facts, "probes": by_rule(kept)})


def problem_dropped(stage: str, problem: Problem, reason: str, detail: str = "") -> Drop:
    return Drop(stage=stage, problem_id=problem.id, source=problem.source, reason=reason, detail=detail)


def by_rule(groups: Sequence[Group]) -> dict[str, int]:
    """How many probes each rule still has in play."""
    return dict(sorted(Counter(probe.rule for group in groups for probe in probes_of(group.problem)).items()))


def _told(problem: Problem, reasons: Counter[str]) -> str:
    """What became of a problem's probes, in words."""
    for probe in recorded_probes(problem):
        reasons["leaks the answer" if probe.leaks_gold else "misleads the teacher"] += 1
    return ", ".join(f"{reason} {times}" for reason, times in sorted(reasons.items()))
