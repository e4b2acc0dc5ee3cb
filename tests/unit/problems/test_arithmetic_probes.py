"""Probes ask closed questions whose checked answers are true."""

import re
from random import Random

import pytest

from rl_distill.problems.arithmetic_chain import Chain, drawn_chain
from rl_distill.problems.arithmetic_probes import PROBES, Probe, drawn_probe
from rl_distill.problems.arithmetic_teacher import CORPUS_HABITS, Habits

FLAWLESS = Habits(merge=0, merge_error=0, hard_error=0, easy_error=0, miscopy=0, truncate=0, direct=0)


def probes(kind: str, habits: Habits = FLAWLESS, count: int = 200) -> list[tuple[Chain, Probe]]:
    rng = Random(3)
    pairs = []
    while len(pairs) < count:
        chain = drawn_chain(rng, rng.randint(2, 4))
        if (probe := PROBES[kind](chain, habits, rng)) is not None:
            pairs.append((chain, probe))
    return pairs


@pytest.mark.parametrize("kind", PROBES)
def test_a_flawless_teacher_gives_the_checked_answer(kind: str) -> None:
    for _, probe in probes(kind):
        assert probe.reply.answer == probe.answer
        assert probe.reply.text.startswith("<think> ") and probe.reply.text.endswith(f" </think> \\boxed{{{probe.answer}}}")


@pytest.mark.parametrize("kind", ["undo", "after", "what_if", "is"])
def test_a_habitual_teacher_is_sometimes_wrong(kind: str) -> None:
    statuses = {probe.reply.answer == probe.answer for _, probe in probes(kind, CORPUS_HABITS, count=500)}
    assert statuses == {True, False}


def test_why_names_what_the_units_do_and_shows_the_reason() -> None:
    for _, probe in probes("why"):
        value, sign, size = re.match(r"why (\d+) ([+-]) (\d+) = \d+ \?", probe.question).groups()
        units = int(value) % 10 + int(sign + size)
        assert probe.answer == ("carry" if units > 9 else "borrow" if units < 0 else "plain")
        assert eval(re.search(r"<think> (.*) </think>", probe.reply.text)[1].replace("=", "=="))


def test_undo_asks_for_the_value_before_the_last_operation() -> None:
    for chain, probe in probes("undo"):
        assert probe.question == f"{chain.text} = {chain.result} . undo ?" and probe.answer == str(chain.values[-2])


def test_after_asks_for_a_running_value_before_the_result() -> None:
    for chain, probe in probes("after"):
        count = int(re.fullmatch(re.escape(chain.text) + r" \. after (\d) \?", probe.question)[1])
        assert 1 <= count < len(chain.operands) and probe.answer == str(chain.values[count])


def test_what_if_changes_the_start_and_stays_on_its_side_of_the_split() -> None:
    for chain, probe in probes("what_if"):
        start = int(re.fullmatch(re.escape(chain.text) + r" \. first = (\d+) \?", probe.question)[1])
        changed = Chain(start, chain.operands)
        assert start != chain.start and probe.answer == str(changed.result)
        assert all(0 <= value <= 19 for value in changed.values) and changed.is_held_out == chain.is_held_out


def test_is_claims_the_truth_half_of_the_time() -> None:
    asked = probes("is", count=1000)
    for _, probe in asked:
        step, claim = re.fullmatch(r"is (\d+ [+-] \d+) = (\d+) \?", probe.question).groups()
        assert probe.answer == ("yes" if eval(step) == int(claim) else "no") and 0 <= int(claim) <= 19
    assert sum(probe.answer == "yes" for _, probe in asked) / len(asked) == pytest.approx(0.5, abs=0.06)


def test_a_kind_that_cannot_be_asked_gives_way_to_one_that_can() -> None:
    rng = Random(0)
    chains = [drawn_chain(rng, 4) for _ in range(3000)]
    narrow = next(chain for chain in chains if PROBES["what_if"](chain, FLAWLESS, rng) is None)
    assert drawn_probe(narrow, FLAWLESS, rng, ["what_if", "undo"]).kind == "undo"
    with pytest.raises(ValueError, match="what_if"):
        drawn_probe(narrow, FLAWLESS, rng, ["what_if"])
