"""Is each attempt right? Rules from cheap to dear, and a judge only where they could not settle it."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from rl_distill.config import config, setting
from rl_distill.curation.judge import SETTLED, Bench, Judge, JudgeQuestion
from rl_distill.curation.stage_folder import StageResult
from rl_distill.rewards.accuracy import Accuracy
from rl_distill.rewards.base import Attempt
from rl_distill.rewards.code_tests import KEY
from rl_distill.rewards.unit_tests import UnitTests
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Group, Score, Trajectory, Verdict

RECORDED = "recorded"  # key of an attempt's metadata: the label that its data set came with
GradeAll = Callable[[Any, Sequence[Attempt]], list[Verdict]]


@config
class Verification:
    """How attempts are graded. Problems with unit tests are run, the others compared with their gold answer."""

    accuracy: Accuracy = setting(Accuracy(), about="compares final answers: exactly, as numbers, symbolically")
    unit_tests: UnitTests = setting(UnitTests(), about="runs programs against the tests of their problem")
    judge: Judge | None = setting(None, about="a language model for what rules could not settle; none leaves it so")
    audit_rows: int = setting(100, about="accepted and as many rejected attempts that are put aside for a person", ge=0)


@dataclass(frozen=True, slots=True)
class Graded:
    """An attempt with the rules' verdict and the final one."""

    group: int
    place: int
    attempt: Attempt
    rule: Verdict
    verdict: Verdict


def verify(
    groups: Sequence[Group], settings: Verification, *, seed: int, bench: Bench | None, grade: GradeAll | None = None
) -> StageResult:
    """Every attempt with its verdict and, as its reward, 1 for a correct one, 0 for a wrong one, none for what nobody can tell.

    Args:
        bench: who is asked where rules are not sure; None keeps what they say.
        grade: applies a verifier to attempts; None does so in this process.
    """
    graded = _judged(_by_rules(groups, settings, grade or _grade), bench)
    verdicts = {(one.group, one.place): one.verdict for one in graded}
    rows = [
        replace(
            group,
            trajectories=tuple(_scored(attempt, verdicts[index, place]) for place, attempt in enumerate(group.trajectories)),
        )
        for index, group in enumerate(groups)
    ]
    tables = {"disagreements.jsonl": _disagreements(graded), "audit.jsonl": _audit(graded, settings.audit_rows, seed)}
    return StageResult(groups=rows, facts=_facts(graded), tables=tables)


def verifier_versions() -> dict[str, str]:
    """Of what verdicts depend on beside their settings."""
    return {name: version(name) for name in ("rl_distill", "math-verify", "latex2sympy2_extended")}


def _grade(verifier: Any, attempts: Sequence[Attempt]) -> list[Verdict]:
    found: list[Verdict] = verifier.verdicts(attempts)
    return found


def _by_rules(groups: Sequence[Group], settings: Verification, grade: GradeAll) -> list[Graded]:
    attempts = [
        (index, place, (group.problem, attempt))
        for index, group in enumerate(groups)
        for place, attempt in enumerate(group.trajectories)
    ]
    found: dict[tuple[int, int], Verdict] = {}
    for verifier in (settings.unit_tests, settings.accuracy):
        mine = [item for item in attempts if settings.unit_tests.can_judge(item[2][0]) == (verifier is settings.unit_tests)]
        verdicts = grade(verifier, [attempt for _, _, attempt in mine]) if mine else []
        found |= {(index, place): verdict for (index, place, _), verdict in zip(mine, verdicts, strict=True)}
    return [Graded(index, place, attempt, found[index, place], found[index, place]) for index, place, attempt in attempts]


def _judged(graded: list[Graded], bench: Bench | None) -> list[Graded]:
    if bench is None:
        return graded
    open_ones = [place for place, one in enumerate(graded) if _is_open(one)]
    questions = [_question(graded[place].attempt) for place in open_ones]
    verdicts = bench.verdicts(questions, [graded[place].rule for place in open_ones]) if questions else []
    for place, verdict in zip(open_ones, verdicts, strict=True):
        graded[place] = replace(graded[place], verdict=verdict)
    return graded


def _is_open(one: Graded) -> bool:
    problem, _ = one.attempt
    by_program = bool(problem.metadata.get(KEY))
    return one.rule.status != "correct" and one.rule.method not in SETTLED and problem.answer is not None and not by_program


def _question(attempt: Attempt) -> JudgeQuestion:
    problem, trajectory = attempt
    return JudgeQuestion(problem.id, problem.prompt, problem.answer or "", answer_part(trajectory))


def answer_part(trajectory: Trajectory) -> str:
    """What follows the reasoning, where an attempt marks it; else all of it."""
    closing = trajectory.metadata.get("closing")
    return trajectory.response.rpartition(closing)[2] if closing else trajectory.response


def _scored(attempt: Trajectory, verdict: Verdict) -> Trajectory:
    value = {"correct": 1.0, "wrong": 0.0, "unverifiable": None}[verdict.status]
    recorded = {RECORDED: attempt.status} if attempt.status and RECORDED not in attempt.metadata else {}
    return replace(attempt, score=Score(value=value, verdict=verdict), metadata={**attempt.metadata, **recorded})


def _facts(graded: Sequence[Graded]) -> dict[str, Any]:
    """Yield of each method; how often the judge overruled the rules; how often a recorded label is ours."""
    methods: dict[str, Counter[str]] = {}
    for one in graded:
        methods.setdefault(one.verdict.method, Counter())[one.verdict.status] += 1
    judged = [one for one in graded if one.verdict.method == "judge"]
    labels = Counter(f"{one.attempt[1].status} / {one.verdict.status}" for one in graded if one.attempt[1].status)
    same = sum(count for pair, count in labels.items() if len(set(pair.split(" / "))) == 1)
    return {
        "versions": verifier_versions(),
        "methods": {method: dict(sorted(found.items())) for method, found in sorted(methods.items())},
        "judge": {"asked": len(judged), "overruled": sum(one.verdict.status != one.rule.status for one in judged)},
        "recorded": {"pairs": dict(sorted(labels.items())), "agreement": same / sum(labels.values()) if labels else None},
    }


def _disagreements(graded: Sequence[Graded]) -> list[Mapping[str, Any]]:
    """Attempts whose recorded label is another, and those of which judge and rules say otherwise."""
    return [
        _row(one) | {"recorded": one.attempt[1].status, "rule": one.rule.status}
        for one in graded
        if one.attempt[1].status not in (None, one.verdict.status) or one.rule.status != one.verdict.status
    ]


def _audit(graded: Sequence[Graded], count: int, seed: int) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for status in ("correct", "wrong"):
        found = [one for one in graded if one.verdict.status == status]
        draw = random.Random(addressed_seed(seed, "audit", status))
        rows += [_row(found[place]) for place in sorted(draw.sample(range(len(found)), min(count, len(found))))]
    return rows


def _row(one: Graded) -> dict[str, Any]:
    problem, trajectory = one.attempt
    return {
        "problem": problem.id,
        "attempt": one.place,
        "status": one.verdict.status,
        "method": one.verdict.method,
        "detail": one.verdict.detail,
        "gold": problem.answer,
        "prompt": problem.prompt,
        "answer": answer_part(trajectory)[-500:],
    }
