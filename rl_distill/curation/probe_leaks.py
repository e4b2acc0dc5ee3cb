"""Probes that tell the answer: by their words, or by what the base student makes of them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from rl_distill.curation.drop import Drop
from rl_distill.curation.normalize import normalized, numbers
from rl_distill.curation.probe_asking import ProbeQuestion, bill
from rl_distill.curation.probe_pool import Place, PlacedProbe, settled, surviving
from rl_distill.curation.probe_run import ProbeRun
from rl_distill.curation.stage_folder import StageResult
from rl_distill.curation.teacher import Response
from rl_distill.probes import Probe
from rl_distill.rewards import answers
from rl_distill.trajectory import Group, Message, Problem

LEAKS, RISE = "probe_leaks", "probe_rise"
_COMMON = ("yes", "no", "true", "false")  # words that every text has: only saying that they are the answer tells it


def find_leaks(groups: Sequence[Group], run: ProbeRun) -> StageResult:
    """Labels the probes whose words say the gold answer. Those that ask what the evaluation asks leave the record."""
    placed = surviving(groups)
    outcomes: dict[Place, Probe | Drop] = {
        one.place: replace(one.probe, leaks_gold=says_answer(one.probe.text, one.problem)) for one in placed
    }
    if run.contaminated is not None and placed:
        by_name = {f"{index}": one for index, one in enumerate(placed)}
        asked = [Problem(id=name, prompt=one.probe.text, answer=None, source="probe") for name, one in by_name.items()]
        for hit in run.contaminated(asked):
            one = by_name[hit.problem_id]
            outcomes[one.place] = one.dropped(LEAKS, "in_evaluation", f"{hit.reason} {hit.detail}".strip(), hit.match)
    return settled(LEAKS, groups, outcomes, label="leaks_gold", facts={})


def says_answer(text: str, problem: Problem) -> bool:
    """Whether a text has the gold answer more often than the problem itself has.

    So a probe may repeat a problem in which the answer's number stands anyway, and no more than that. Numbers count by value,
    spelled out or not. Of choices (a letter) and of yes, no, true, false only "the answer is ..." and "(...)" count.

    Example:
        >>> apples = Problem(id="a", prompt="I had 5 apples and gave 2. How many are left?", answer="3", source="s")
        >>> says_answer("I had 5 apples. Why are three left?", apples), says_answer("Why 5 - 2?", apples)
        (True, False)
    """
    gold = answers.plain(problem.answer or "").strip()
    if not gold:
        return False
    told, known = _occurrences(gold, normalized(text)), _occurrences(gold, normalized(problem.prompt))
    return any(here > there for here, there in zip(told, known, strict=True))


def _occurrences(gold: str, text: str) -> tuple[int, ...]:
    """How often a normalised text has the answer in each of the forms that tell it."""
    number = answers.decimal(gold)
    if number is not None:
        return (sum(Decimal(found) == abs(number[0]) for found in numbers(text)),)
    word = normalized(gold).strip("().")
    if not word:
        return (0,)
    own = re.escape(word)
    if word in _COMMON or len(word) == 1:
        named = rf"\b(?:answer|option|choice|result)(?: is| was| of)?[\s:=\"'(]+{own}\b"
        return len(re.findall(rf"\({own}\)", text)), len(re.findall(named, text))
    before, after = (r"\b" if letter.isalnum() else "" for letter in (word[0], word[-1]))
    return (len(re.findall(before + own + after, text)),)


def find_rises(groups: Sequence[Group], run: ProbeRun) -> StageResult:
    """Labels the probes whose text alone makes the base student solve the problem more often, by more than `max_rise`."""
    rise = run.base_student.rise
    assert rise is not None, "the stage is there only with it"
    placed = surviving(groups)
    alone = {one.problem.id: ProbeQuestion("rise", one.problem.id, run.problem_after(one.problem, ())) for one in placed}
    shown = [ProbeQuestion("rise", one.problem.id, _shown(one, run)) for one in placed]
    answered = run.student.answers([*alone.values(), *shown], rise.sampling, rise.num_samples)
    golds = {one.problem.id: one.problem.answer for one in placed}
    without = {
        name: _accuracy(golds[name], responses, run) for name, responses in zip(alone, answered[: len(alone)], strict=True)
    }
    rises: list[float] = []
    outcomes: dict[Place, Probe | Drop] = {}
    for one, responses in zip(placed, answered[len(alone) :], strict=True):
        rises.append(_accuracy(one.problem.answer, responses, run) - without[one.problem.id])
        outcomes[one.place] = replace(one.probe, leaks_gold=rises[-1] > rise.max_rise + 1e-9)
    facts = {"student": bill(answered), "mean_rise": sum(rises) / len(rises) if rises else None}
    return settled(RISE, groups, outcomes, label="student_rises", facts=facts)


def _shown(one: PlacedProbe, run: ProbeRun) -> tuple[Message, ...]:
    """The probe's text and the problem in one turn."""
    *system, question = run.problem_after(one.problem, ())
    return (*system, Message("user", f"{one.probe.text}\n\n{question.content}"))


def _accuracy(gold: str | None, responses: Sequence[Response], run: ProbeRun) -> float:
    verdicts = run.accuracy.grade([(gold, run.reply(response)) for response in responses])
    return sum(verdict.status == "correct" for verdict in verdicts) / len(verdicts)
