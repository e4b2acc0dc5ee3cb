"""Ten closed rules of explanation: each checked answer is true, and none gives the problem away unsaid."""

import re
from random import Random

import pytest

from rl_distill.problems.arithmetic_chain import Chain, drawn_chain
from rl_distill.problems.arithmetic_inversion import INVERSIONS, gives_away, neighbor
from rl_distill.problems.arithmetic_probes import Probe
from rl_distill.problems.arithmetic_teacher import Habits
from rl_distill.problems.arithmetic_worlds import WORLDS

FLAWLESS = Habits(merge=0, merge_error=0, hard_error=0, easy_error=0, miscopy=0, truncate=0, direct=0)
NEVER_CARRIES = FLAWLESS._replace(hard_error=1)


def probes(rule: str, habits: Habits = FLAWLESS, count: int = 300) -> list[tuple[Chain, Probe]]:
    rng = Random(rule)
    chains = [drawn_chain(rng, rng.randint(2, 4)) for _ in range(count)]
    found = [(chain, INVERSIONS[rule](chain, habits, rng)) for chain in chains]
    return [(chain, probe) for chain, probe in found if probe is not None]


def units(value: int, operand: int) -> str:
    return "carry" if value % 10 + operand > 9 else "borrow" if value % 10 + operand < 0 else "plain"


def test_there_are_ten_rules() -> None:
    assert list(INVERSIONS) == ["cf", "ch", "de", "wh", "pr", "cc", "hy", "ce", "rv", "as"]


@pytest.mark.parametrize("rule", INVERSIONS)
def test_a_flawless_teacher_gives_the_checked_answer_by_true_steps(rule: str) -> None:
    found = probes(rule)
    assert len(found) > 250
    for _, probe in found:
        assert probe.reply.answer == probe.answer
        thought = re.fullmatch(rf"<think> (.+) </think> \\boxed\{{{probe.answer}\}}", probe.reply.text)
        assert all(eval(step.replace("=", "==")) for step in thought[1].split(" ; "))


def test_a_first_step_is_explained_without_its_result() -> None:
    for chain, probe in probes("wh"):
        assert probe.question == f"why {Chain(chain.start, chain.operands[:1]).text} ?"
        assert probe.answer == units(chain.start, chain.operands[0])


def test_the_process_counts_the_steps_that_carry_or_borrow() -> None:
    for chain, probe in probes("pr"):
        asked = re.fullmatch(re.escape(chain.text) + r" \. (carry|borrow) \?", probe.question)[1]
        steps = zip(chain.values, chain.operands, strict=False)
        assert probe.answer == str(sum(units(*step) == asked for step in steps))


def test_the_cause_is_the_smallest_operand_that_carries_or_borrows() -> None:
    for chain, probe in probes("ce"):
        asked, sign = ("carry", 1) if probe.question == f"carry {chain.start} ?" else ("borrow", -1)
        assert probe.question == f"{asked} {chain.start} ?"
        causes = [size for size in range(2, 10) if units(chain.start, sign * size) == asked]
        assert probe.answer == (str(causes[0]) if causes else "plain")


@pytest.mark.parametrize(("rule", "relation"), [("cc", ">"), ("as", "=")])
def test_two_steps_are_compared_and_either_answer_is_common(rule: str, relation: str) -> None:
    found = [probe for _, probe in probes(rule, count=1000)]
    for probe in found:
        one, other = re.fullmatch(rf"is (\d+ [+-] \d+) {relation} (\d+ [+-] \d+) \?", probe.question).groups()
        assert one != other and probe.answer == ("yes" if eval(f"{one} {relation.replace('=', '==')} {other}") else "no")
    assert 0.25 < sum(probe.answer == "yes" for probe in found) / len(found) < 0.75


@pytest.mark.parametrize("rule", ["ch", "hy", "rv"])
def test_what_shows_values_is_asked_about_another_chain(rule: str) -> None:
    given_away = sum(gives_away(probe.question, chain) for chain, probe in probes(rule, count=1000))
    assert given_away < 30  # a step of the neighbor is sometimes one of the chain's own


@pytest.mark.parametrize("rule", ["cf", "de", "wh", "pr", "cc", "ce", "as"])
def test_the_other_rules_never_show_a_value(rule: str) -> None:
    assert not any(gives_away(probe.question, chain) for chain, probe in probes(rule))


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("15 - 9 + 4 - 4 = 6 . undo ?", True),
        ("why 6 + 4 = 10 ?", True),
        ("is 15 - 9 + 4 = 10 ?", True),
        ("is 6 + 4 = 11 ?", False),
        ("is 15 - 9 = 6 + 4 ?", False),
        ("why 16 + 4 = 10 ?", False),
        ("15 - 9 + 4 - 4 . first = 14 ?", False),
        ("5 - 9 + 4 - 4 = 6 . undo ?", False),
    ],
)
def test_a_leak_is_a_true_statement_about_a_piece_of_the_chain(text: str, leaks: bool) -> None:
    assert gives_away(text, Chain(15, (-9, 4, -4))) is leaks


def test_a_neighbor_is_another_chain_on_the_same_side_of_the_split() -> None:
    rng = Random(4)
    for _ in range(500):
        chain = drawn_chain(rng, rng.randint(2, 4))
        other = neighbor(chain, rng)
        assert other != chain and other.is_held_out == chain.is_held_out and len(other.operands) == len(chain.operands)


@pytest.mark.parametrize("rule", ["cf", "ch", "de", "wh", "pr", "cc", "hy", "ce", "rv"])
def test_who_never_carries_is_wrong_where_a_carry_decides_and_right_elsewhere(rule: str) -> None:
    statuses = {probe.reply.answer == probe.answer for _, probe in probes(rule, NEVER_CARRIES)}
    assert statuses == {True, False}


def test_who_never_carries_sees_no_reason_either() -> None:
    for rule in ("ch", "wh"):
        assert {probe.reply.answer for _, probe in probes(rule, NEVER_CARRIES)} == {"plain"}
    assert {probe.reply.answer for _, probe in probes("pr", NEVER_CARRIES)} == {"0"}


def test_questions_of_the_rules_world_are_of_either_kind_alike() -> None:
    kinds = WORLDS["rules"].corpus_probes
    assert len(kinds) == 20 and len(set(kinds) & set(INVERSIONS)) == 10
