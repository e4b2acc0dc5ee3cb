"""What the evaluation asks is left out however it is told, and what it does not ask is not."""

import os
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from planted_copies import COPIES, VARIANTS, WRITTEN, planted

from rl_distill.config import parse
from rl_distill.curation.decontaminate import Decontaminate
from rl_distill.curation.drop import refuse_empty
from rl_distill.errors import InputError
from rl_distill.problems import Aime, Gsm8k, Math
from rl_distill.trajectory import Problem

needs_data = pytest.mark.skipif("RL_DISTILL_DATA" not in os.environ, reason="RL_DISTILL_DATA names no folder with the real data")
HALF = len(WRITTEN) // 2
BOILERPLATE = "The answer is $\\frac{m}{n}$, where $m$ and $n$ are relatively prime positive integers. Find $m+n$."


@pytest.fixture(scope="module")
def evaluation() -> list[Problem]:
    """Of GSM8K's test set and MATH-500 some, and AIME 2024."""
    test, math, aime = ([group.problem for group in each.groups()] for each in (Gsm8k(split="test"), Math(split="test"), Aime()))
    return [*Random(0).sample(test, 200), *Random(0).sample(math, 200), *aime]


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_of_any_kind_is_left_out_and_names_the_original(kind: str) -> None:
    pairs = list(planted(WRITTEN, kind))
    kept, drops = Decontaminate().apply([copy for _, copy in pairs], WRITTEN)
    assert pairs and not kept
    assert [(drop.problem_id, drop.match) for drop in drops] == [(copy.id, original.id) for original, copy in pairs]


@pytest.mark.parametrize("kind", VARIANTS)
def test_other_numbers_make_another_question_unless_variants_are_unwanted(kind: str) -> None:
    variants = [variant for _, variant in planted(WRITTEN, kind)]
    assert Decontaminate().apply(variants, WRITTEN) == (variants, [])
    assert len(Decontaminate(variants="drop").apply(variants, WRITTEN)[1]) > len(variants) / 2


def test_nothing_is_lost_order_is_kept_and_a_second_time_changes_nothing() -> None:
    pool = [*WRITTEN, *(copy for kind in ("renamed", "one_number") for _, copy in planted(WRITTEN, kind))]
    kept, drops = Decontaminate().apply(pool, WRITTEN[:HALF])
    left_out = [drop.problem_id for drop in drops]
    assert drops and kept == [problem for problem in pool if problem.id not in left_out]
    assert Decontaminate().apply(kept, WRITTEN[:HALF]) == (kept, [])


@pytest.mark.parametrize(
    ("rule", "kind", "says"),
    [("ngram", "quoted", "of its runs of"), ("ratio", "typos", "ratio 9"), ("skeleton", "renamed", "and answer 36")],
)
def test_a_rule_by_itself_says_what_it_found(rule: Any, kind: str, says: str) -> None:
    ((_, copy),) = planted(WRITTEN[:1], kind)
    _, (drop,) = Decontaminate(rules=(rule,)).apply([copy], WRITTEN)
    assert (drop.stage, drop.reason, drop.match) == ("decontaminate", rule, "written-0") and says in drop.detail


def test_the_first_rule_that_is_named_gives_the_reason() -> None:
    (drop,) = Decontaminate(rules=("skeleton", "ngram")).apply(WRITTEN[:1], WRITTEN)[1]
    assert drop.reason == "skeleton"


def test_a_phrase_that_many_problems_share_is_no_copy(problem: Callable[..., Problem]) -> None:
    asked = problem(
        "A frog jumps along a line of lily pads until it meets a heron or the shore, each with the same chance. What is the "
        f"chance that it is never seen by the heron that stands beside the first of the pads? {BOILERPLATE}"
    )
    other = problem(
        f"Two circles touch, and a line through the center of the smaller meets the larger at P, Q, R, S. {BOILERPLATE}"
    )
    assert Decontaminate().apply([other], [asked]) == ([other], [])
    assert len(Decontaminate(ngram_coverage=0.001).apply([other], [asked])[1]) == 1


def test_a_short_question_is_looked_for_by_short_runs(problem: Callable[..., Problem]) -> None:
    asked = problem("Determine how many primes lie between the squares of two neighbors")
    quoted = problem("Please help. Determine how many primes lie between the squares of two neighbors, and tell me why it is so.")
    assert len(Decontaminate(rules=("ngram",)).apply([quoted], [asked])[1]) == 1
    assert not Decontaminate(rules=("ngram",), short_ngram_words=12, ngram_words=13).apply([quoted], [asked])[1]


def test_few_numbers_are_the_same_by_chance(problem: Callable[..., Problem]) -> None:
    asked, other = problem("Ann has 3 pears and 4 plums. In all?", "7"), problem("Of 4 cats and 3 dogs, how many animals?", "7")
    assert not Decontaminate(rules=("skeleton",), skeleton_ratio=0).apply([other], [asked])[1]
    assert Decontaminate(rules=("skeleton",), skeleton_ratio=0, min_numbers=2).apply([other], [asked])[1]
    assert not Decontaminate(rules=("skeleton",), min_numbers=2, skeleton_ratio=90).apply([other], [asked])[1]


def test_without_a_known_answer_there_is_no_skeleton() -> None:
    ((_, copy),) = planted(WRITTEN[:1], "renamed")
    unknown = replace(copy, answer=None)
    assert Decontaminate(rules=("skeleton",)).apply([unknown], WRITTEN) == ([unknown], [])
    assert Decontaminate(rules=("skeleton",)).apply([copy], [replace(WRITTEN[0], answer=None)])[1] == []


def test_without_an_evaluation_it_refuses_to_look_clean() -> None:
    with pytest.raises(InputError, match="no evaluation problems"):
        Decontaminate().apply(WRITTEN, [])


def test_an_empty_pool_stays_empty_and_a_pool_of_copies_ends_in_a_clear_line() -> None:
    assert Decontaminate().apply([], WRITTEN) == ([], [])
    kept, drops = Decontaminate().apply(WRITTEN, WRITTEN)
    with pytest.raises(InputError, match=r"left nothing of 8 problems \(ngram 8; for example 'written-0' is like 'written-0'"):
        refuse_empty("decontaminate", kept, drops)


@pytest.mark.parametrize("prompt", ["", "?", "答案是什么", "\ud800", "x" * 5000])
def test_any_text_is_compared(prompt: str, problem: Callable[..., Problem]) -> None:
    assert [drop.reason for drop in Decontaminate().apply([problem(prompt)], [*WRITTEN, problem(prompt)])[1]] == ["ratio"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": []},
        {"rules": ["ngram", "ngram"]},
        {"rules": ["words"]},
        {"short_ngram_words": 14},
        {"ratio": 0},
        {"min_numbers": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        parse(Decontaminate, wrong)


@needs_data
@pytest.mark.parametrize(
    ("kind", "least"), {"typos": 0.95, "reordered": 0.97, "spelled": 0.97, "quoted": 0.95, "reworded": 0.8}.items()
)
def test_copies_of_real_questions_are_found(kind: str, least: float, evaluation: list[Problem]) -> None:
    copies = [copy for _, copy in planted(Random(0).sample(evaluation[:400], 100), kind)]
    assert len(Decontaminate().apply(copies, evaluation)[1]) >= least * len(copies)


@needs_data
def test_real_training_sets_are_hardly_touched(evaluation: list[Problem]) -> None:
    """What falls are relatives: questions of one text with another request."""
    pool = [group.problem for each in (Gsm8k(), Math(), Aime(years="1983-2023")) for group in each.groups()]
    sampled = Random(0).sample(pool, 500)
    assert len(Decontaminate().apply(sampled, evaluation)[1]) <= 0.01 * len(sampled)
