"""Filters 1 and 2 of Explanatory Inversion (arXiv:2603.19266): probes that mislead, and problems of the wrong difficulty."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rl_distill.curation.drop import Drop
from rl_distill.curation.judge import EXPLANATION, Bench, JudgeQuestion
from rl_distill.curation.probe_asking import ProbeQuestion, bill
from rl_distill.curation.probe_pool import Place, PlacedProbe, by_rule, problem_dropped, settled, surviving
from rl_distill.curation.probe_run import JUDGED, ProbeRun, turns_of, was_said
from rl_distill.curation.stage_folder import StageResult
from rl_distill.probes import Probe, probes_of
from rl_distill.trajectory import Group, Message, Verdict

CONSISTENCY, DIFFICULTY = "probe_consistency", "probe_difficulty"


def check_consistency(groups: Sequence[Group], run: ProbeRun) -> StageResult:
    """Filter 1. Labels each probe by whether the teacher, shown it with its reply and then the problem, finds the gold answer."""
    consistency = run.probing.consistency
    assert consistency is not None, "the stage is there only with it"
    placed = [one for one in surviving(groups) if one.probe.consistent is None]
    questions = [
        ProbeQuestion("consistency", one.problem.id, run.problem_after(one.problem, turns_of(one.probe))) for one in placed
    ]
    answered = run.teacher.answers(questions, consistency.sampling)
    verdicts = run.accuracy.grade(
        [(one.problem.answer, run.reply(response)) for one, (response,) in zip(placed, answered, strict=True)]
    )
    outcomes: dict[Place, Probe | Drop] = {}
    for one, (response,), verdict in zip(placed, answered, verdicts, strict=True):
        if not was_said(response):
            outcomes[one.place] = one.dropped(CONSISTENCY, "not_checked", response.detail)
        elif verdict.status == "unverifiable":
            outcomes[one.place] = one.dropped(CONSISTENCY, "not_checked", verdict.method)
        else:
            outcomes[one.place] = replace(one.probe, consistent=verdict.status == "correct")
    return settled(CONSISTENCY, groups, outcomes, label="inconsistent", facts={"teacher": bill(answered)})


def check_difficulty(groups: Sequence[Group], run: ProbeRun) -> StageResult:
    """Filter 2. Labels each probe by whether the base student answers it, and keeps the problems of the right difficulty."""
    placed = surviving(groups)
    questions = [ProbeQuestion("student", one.problem.id, (Message("user", one.probe.text),)) for one in placed]
    answered = run.student.answers(questions, run.base_student.sampling)
    replies = [run.reply(response) if was_said(response) else None for (response,) in answered]
    verdicts = _checked(placed, replies, run)
    outcomes: dict[Place, Probe | Drop] = {
        one.place: replace(one.probe, student_base_correct=_is_correct(verdict))
        for one, verdict in zip(placed, verdicts, strict=True)
    }
    labelled = settled(DIFFICULTY, groups, outcomes, facts={}).groups
    kept, drops = [], []
    for group in labelled:
        if drop := _wrong_difficulty(group, run.base_student.tau_hard):
            drops.append(drop)
        else:
            kept.append(group)
    facts = {"student": bill(answered), "student_correct": _tally(placed, verdicts), "probes": by_rule(kept)}
    return StageResult(groups=kept, drops=drops, facts=facts)


def _checked(placed: Sequence[PlacedProbe], replies: Sequence[str | None], run: ProbeRun) -> list[Verdict]:
    """Closed probes by rule, open ones by the judge, if there is one; None is no reply, of which nobody can tell."""
    is_closed = [one.probe.answer_kind == "closed" and reply is not None for one, reply in zip(placed, replies, strict=True)]
    verdicts = run.accuracy.grade(
        [
            (one.probe.teacher_answer if closed else None, reply or "")
            for one, reply, closed in zip(placed, replies, is_closed, strict=True)
        ]
    )
    judge = run.base_student.judge
    if judge is None:
        return verdicts
    asked = {
        place: JudgeQuestion(one.problem.id, one.probe.text, one.probe.teacher_answer, reply)
        for place, (one, reply) in enumerate(zip(placed, replies, strict=True))
        if one.probe.answer_kind == "open" and reply is not None
    }
    if asked:
        bench = Bench(judge, run.seed, run.folder / JUDGED, run.note, EXPLANATION)
        judged = bench.verdicts(list(asked.values()), [verdicts[place] for place in asked])
        for place, verdict in zip(asked, judged, strict=True):
            verdicts[place] = verdict
    return verdicts


def _is_correct(verdict: Verdict) -> bool | None:
    return None if verdict.status == "unverifiable" else verdict.status == "correct"


def _wrong_difficulty(group: Group, tau_hard: int) -> Drop | None:
    found = [probe.student_base_correct for probe in probes_of(group.problem) if probe.student_base_correct is not None]
    right = sum(found)
    detail = f"the base student answers {right} of {len(found)} checked probes"
    if not found:
        return problem_dropped(DIFFICULTY, group.problem, "no_checked_probe", "no closed probe, and no judge for open ones")
    if right < tau_hard:
        return problem_dropped(DIFFICULTY, group.problem, "too_hard", detail)
    return problem_dropped(DIFFICULTY, group.problem, "too_easy", detail) if right == len(found) else None


def _tally(placed: Sequence[PlacedProbe], verdicts: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """By rule: probes that the base student got right, wrong, and that nobody could check."""
    found: dict[str, Counter[str]] = {}
    for one, verdict in zip(placed, verdicts, strict=True):
        found.setdefault(one.probe.rule, Counter())[verdict.status] += 1
    plain: dict[str, Any] = {rule: dict(sorted(counter.items())) for rule, counter in sorted(found.items())}
    return plain
