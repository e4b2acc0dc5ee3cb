"""The teacher's part: it writes probes of each problem, one by each rule, and then answers what it wrote."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rl_distill.curation.drop import Drop
from rl_distill.curation.probe_asking import ProbeQuestion, bill
from rl_distill.curation.probe_pool import (
    Place,
    PlacedProbe,
    problem_dropped,
    settled,
    surviving,
    with_probes,
    with_survivors,
)
from rl_distill.curation.probe_rules import ProbeRule
from rl_distill.curation.probe_run import ProbeRun, fault_of
from rl_distill.curation.stage_folder import StageResult
from rl_distill.curation.teacher import Response
from rl_distill.curation.teachers import ProceduralTeacherConfig
from rl_distill.errors import InputError
from rl_distill.probes import Probe, recorded_probes
from rl_distill.rewards.answers import boxed_answer
from rl_distill.trajectory import Group, Message, Problem, Trajectory

WRITE, ANSWER = "probe_write", "probe_answer"
_WRITTEN = re.compile(r"<probe>(.*?)</probe>", re.DOTALL)
_NONE = re.compile(r"\W*none\W*", re.IGNORECASE)


def solution_of(group: Group) -> Trajectory | None:
    """The attempt that probes are about: the first that is right and ended by itself."""
    return next((found for found in group.trajectories if found.status == "correct" and found.finish_reason == "stop"), None)


def write(groups: Sequence[Group], run: ProbeRun) -> StageResult:
    """Problems with the probes that the teacher wrote of them; those that carry some already as they are.

    Raises:
        InputError: the procedural teacher would have to write.
    """
    kept, drops = _askable(groups)
    asked = [(index, rule) for index, group in enumerate(kept) if not recorded_probes(group.problem) for rule in run.rules.rules]
    if asked and isinstance(run.probing.teacher, ProceduralTeacherConfig):
        raise InputError(
            "probes.teacher",
            f"the procedural one writes no probes, and {kept[asked[0][0]].problem.id!r} carries none",
            "take problems that carry probes, or another teacher",
        )
    answers = run.teacher.answers([_request(kept[index], rule, run) for index, rule in asked], run.probing.sampling)
    written: dict[int, list[Probe]] = {}
    lost: dict[str, Counter[str]] = {}
    for (index, rule), (response,) in zip(asked, answers, strict=True):
        found = _written(kept[index].problem, rule, response, run)
        if isinstance(found, Drop):
            drops.append(found)
            lost.setdefault(rule.id, Counter())[found.reason] += 1
        else:
            written.setdefault(index, []).append(found)
    rows = [
        replace(group, problem=with_probes(group.problem, written[index])) if index in written else group
        for index, group in enumerate(kept)
    ]
    facts = {"asked": dict(sorted(Counter(rule.id for _, rule in asked).items())), "teacher": bill(answers)}
    return with_survivors(
        WRITE, rows, drops, facts | {"lost": {rule: dict(sorted(found.items())) for rule, found in lost.items()}}
    )


def answer(groups: Sequence[Group], run: ProbeRun) -> StageResult:
    """Every probe that may be asked with the teacher's reply. A reply that is no answer takes its probe with it."""
    unanswered = [placed for placed in surviving(groups) if not placed.probe.teacher_reply]
    if unanswered and isinstance(run.probing.teacher, ProceduralTeacherConfig):
        raise InputError(
            "probes.teacher",
            f"the procedural one answers no probes, and one of {unanswered[0].problem.id!r} comes without a reply",
            "give the reply with the probe, or take another teacher",
        )
    questions = [ProbeQuestion("answer", placed.problem.id, (Message("user", placed.probe.text),)) for placed in unanswered]
    answers = run.teacher.answers(questions, run.probing.sampling)
    outcomes: dict[Place, Probe | Drop] = {
        placed.place: _answered(placed, response, run) for placed, (response,) in zip(unanswered, answers, strict=True)
    }
    return settled(ANSWER, groups, outcomes, facts={"teacher": bill(answers)})


def _askable(groups: Sequence[Group]) -> tuple[list[Group], list[Drop]]:
    """Problems with a gold answer and, unless they carry probes, a solution to ask about."""
    kept, drops = [], []
    for group in groups:
        if not (group.problem.answer or "").strip():
            drops.append(problem_dropped(WRITE, group.problem, "no_gold", "without an answer no filter can be applied"))
        elif not recorded_probes(group.problem) and solution_of(group) is None:
            drops.append(problem_dropped(WRITE, group.problem, "no_right_attempt", "there is no solution to ask about"))
        else:
            kept.append(group)
    return kept, drops


def _request(group: Group, rule: ProbeRule, run: ProbeRun) -> ProbeQuestion:
    problem, solution = group.problem, solution_of(group)
    assert solution is not None and problem.answer is not None, "others were left out"
    text = run.rules.prompt(rule, question=problem.prompt, answer=problem.answer, solution=solution.response)
    return ProbeQuestion("write", problem.id, (Message("user", text),))


def _written(problem: Problem, rule: ProbeRule, response: Response, run: ProbeRun) -> Probe | Drop:
    """The probe in a reply, or why there is none."""
    texts = _WRITTEN.findall(run.conclusion(response.text))
    text = texts[-1].strip() if texts else ""
    ending = f"\n{run.probing.closed_instruction}" if rule.answer_kind == "closed" and run.probing.closed_instruction else ""
    probe = Probe(rule=rule.id, text=text + ending, answer_kind=rule.answer_kind, teacher_reply="", teacher_answer="")
    placed = PlacedProbe((0, 0), problem, probe)
    if fault := fault_of(response):
        return placed.dropped(WRITE, fault, response.detail)
    if not text:
        return placed.dropped(WRITE, "unparsable", f"no <probe>...</probe> in {response.text[-60:]!r}")
    if _NONE.fullmatch(text):
        return placed.dropped(WRITE, "not_applicable")
    if detail := _foreign(text, run):
        return placed.dropped(WRITE, "wrong_language", detail)
    return probe


def _answered(placed: PlacedProbe, response: Response, run: ProbeRun) -> Probe | Drop:
    """The probe with its reply, or why it is none: cut off, silent, in another script, or closed without an answer in a box."""
    reply = run.reply(response)
    if fault := fault_of(response):
        return placed.dropped(ANSWER, fault, response.detail)
    if detail := _foreign(reply, run):
        return placed.dropped(ANSWER, "wrong_language", detail)
    found = boxed_answer(reply) if placed.probe.answer_kind == "closed" else run.conclusion(reply)
    if not found:
        return placed.dropped(ANSWER, "no_answer", f"nothing is boxed in {reply[-60:]!r}")
    return replace(placed.probe, teacher_reply=reply, teacher_answer=found)


def _foreign(text: str, run: ProbeRun) -> str | None:
    return None if run.probing.language is None else run.probing.language.fault(text)
