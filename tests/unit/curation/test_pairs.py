"""One correct and one wrong attempt of a problem, chosen by a rule; the others say why they are not."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from rl_distill.config import parse
from rl_distill.curation.pairs import RULES, Pairs
from rl_distill.errors import InputError
from rl_distill.problems import Gsm8kSolutions
from rl_distill.problems.base import checked
from rl_distill.trajectory import Group

needs_data = pytest.mark.skipif("RL_DISTILL_DATA" not in os.environ, reason="RL_DISTILL_DATA names no folder with the real data")


@pytest.fixture
def attempts(attempt: Callable[..., Any], group: Callable[..., Group]) -> Group:
    return group(
        attempt("unverifiable", "unclear \\boxed{5}"),
        attempt("wrong", "a very long way that ends nowhere but in \\boxed{9}"),
        attempt("correct", "we add and find \\boxed{7}"),
        attempt("wrong", "we add and find \\boxed{8}"),
        attempt("wrong", "broken off after a while", finish="length"),
        attempt("correct", "a way of middling length: \\boxed{7}"),
        attempt("wrong", "oh \\boxed{4}"),
        attempt("wrong", "a way of muddling and length: $\\boxed{4.0}$"),
    )


@pytest.mark.parametrize(
    ("rule", "chosen", "rejected"),
    [("redi", 2, 1), ("length_matched", 2, 3), ("nearest_wrong", 2, 3), ("hardest_negative", 2, 6)],
)
def test_a_rule_takes_its_two(rule: Any, chosen: int, rejected: int, attempts: Group) -> None:
    (pair,), drops = Pairs(rule=rule).apply([attempts])
    assert pair.problem == attempts.problem
    assert pair.trajectories == (attempts.trajectories[chosen], attempts.trajectories[rejected])
    assert [attempt.status for attempt in pair.trajectories] == ["correct", "wrong"]
    assert sorted([drop.attempt for drop in drops if drop.attempt is not None] + [chosen, rejected]) == list(range(8))
    reasons = {drop.attempt: drop.reason for drop in drops}
    assert (reasons[0], reasons[4], reasons[5]) == ("not_verified", "truncated", "not_taken")


def test_every_rule_of_the_table_can_be_picked() -> None:
    assert [parse(Pairs, {"rule": rule}).rule for rule in RULES] == list(RULES)
    with pytest.raises(InputError, match="rule"):
        parse(Pairs, {"rule": "random"})


def test_lengths_are_in_the_callers_unit(attempts: Group) -> None:
    sizes = {"{7}": 3, "{9}": 1, "{8}": 9, "{4": 4}

    def by_box(text: str) -> int:
        return next((size for box, size in sizes.items() if box in text), 0)

    (pair,), _ = Pairs(rule="length_matched").apply([attempts], length=by_box)
    assert pair.trajectories == (attempts.trajectories[2], attempts.trajectories[6])


def test_truncated_attempts_are_negatives_only_when_asked(attempt: Callable[..., Any], group: Callable[..., Group]) -> None:
    only = group(attempt("correct", "fine"), attempt("wrong", "cut", finish="length"))
    kept, drops = Pairs().apply([only])
    assert not kept and [(drop.reason, drop.attempt) for drop in drops] == [
        ("no_wrong", None),
        ("not_taken", 0),
        ("truncated", 1),
    ]
    assert Pairs(truncated_negatives=True).apply([only]) == ([only], [])


def test_an_attempt_without_an_end_is_never_imitated(attempt: Callable[..., Any], group: Callable[..., Group]) -> None:
    cut = group(attempt("correct", "\\boxed{7} and", finish="length"), attempt("wrong", "\\boxed{8}"))
    for truncated in (True, False):
        kept, drops = Pairs(truncated_negatives=truncated).apply([cut])
        assert not kept and drops[0].reason == "no_correct"


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ("cc", "no_wrong"),
        ("ww", "no_correct"),
        ("uu", "nothing_usable"),
        ("", "nothing_usable"),
        ("cu", "no_wrong"),
        ("un", "nothing_usable"),
    ],
)
def test_a_problem_without_both_says_which_is_missing(
    statuses: str, reason: str, attempt: Callable[..., Any], group: Callable[..., Group]
) -> None:
    names = {"c": "correct", "w": "wrong", "u": "unverifiable", "n": None}
    attempts = [attempt(names[status], str(number)) for number, status in enumerate(statuses)]
    kept, drops = Pairs().apply([group(*attempts)])
    assert not kept and drops[0].reason == reason and drops[0].attempt is None and len(drops) == 1 + len(statuses)


def test_an_attempt_that_ended_in_an_error_is_no_negative(attempt: Callable[..., Any], group: Callable[..., Group]) -> None:
    kept, _ = Pairs(truncated_negatives=True).apply([group(attempt("correct", "a"), attempt("wrong", "b", finish="error"))])
    assert not kept


def test_without_a_boxed_wrong_answer_there_is_no_hardest(attempt: Callable[..., Any], group: Callable[..., Group]) -> None:
    kept, drops = Pairs(rule="hardest_negative").apply([group(attempt("correct", "\\boxed{1}"), attempt("wrong", "two"))])
    assert not kept and drops[0].reason == "no_wrong_answer"


def test_a_text_that_was_judged_both_ways_is_not_used(attempt: Callable[..., Any], group: Callable[..., Group]) -> None:
    both = [attempt("correct", "same"), attempt("wrong", " same")]
    kept, drops = Pairs().apply([group(*both, attempt("wrong", "other"), attempt("correct", "good"))])
    assert [attempt.response for attempt in kept[0].trajectories] == ["good", "other"]
    assert [drop.reason for drop in drops] == ["judged_both_ways"] * 2


def test_equal_attempts_are_told_apart_by_their_places(attempt: Callable[..., Any], group: Callable[..., Group]) -> None:
    twice = group(attempt("correct", "a"), attempt("correct", "a"), attempt("wrong", "b"), attempt("wrong", "b"))
    (pair,), drops = Pairs(rule="nearest_wrong").apply([twice])
    assert len(pair.trajectories) == 2 and [drop.attempt for drop in drops] == [1, 3]


def test_pairs_of_pairs_are_the_same_pairs(attempts: Group) -> None:
    for rule in RULES:
        pairs, _ = Pairs(rule=rule).apply([attempts])
        assert Pairs(rule=rule).apply(pairs) == (pairs, [])


def test_no_groups_give_no_pairs() -> None:
    assert Pairs().apply([]) == ([], [])


@needs_data
@pytest.mark.parametrize("rule", RULES)
def test_pairs_of_real_solutions_are_a_problem_set_for_training(rule: Any) -> None:
    groups = Gsm8kSolutions().groups()
    pairs, drops = Pairs(rule=rule).apply(groups)
    assert len(checked(pairs, "pairs")) > 400
    assert len(pairs) + sum(drop.attempt is None for drop in drops) == len(groups)
    assert 2 * len(pairs) + sum(drop.attempt is not None for drop in drops) == sum(len(group.trajectories) for group in groups)
