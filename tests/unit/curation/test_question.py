"""When two questions are one: by letters, by numbers, by answers."""

import pytest

from rl_distill.curation.question import Question, answer_key, answers_differ, likeness, numbers_nested
from rl_distill.trajectory import Problem


def asked(prompt: str, answer: str | None = None) -> Question:
    return Question.of(Problem(id="p", prompt=prompt, answer=answer, source="s"))


TOM = asked("Tom gives 5 pears to Bob, who has 3 pears. How many pears has Bob now?")


def test_letters_that_differ_lower_the_likeness_and_numbers_that_differ_end_it() -> None:
    typo = asked("Tom gives 5 paers to Bob, who has 3 pears. How many pears has Bob now?")
    assert 95 < likeness(TOM, typo, 95, same_numbers=True) < 100
    other_number = asked("Tom gives 6 pears to Bob, who has 3 pears. How many pears has Bob now?")
    assert likeness(TOM, other_number, 95, same_numbers=True) == 0
    assert likeness(TOM, other_number, 95, same_numbers=False) > 95


def test_numbers_that_changed_places_make_another_question() -> None:
    swapped = asked("Tom gives 3 pears to Bob, who has 5 pears. How many pears has Bob now?")
    assert likeness(TOM, swapped, 95, same_numbers=True) == 0


def test_sentences_may_change_places_with_their_numbers() -> None:
    one = asked("Ann has 5 pears. Bob has 3 plums. How many fruits?")
    assert likeness(one, asked("Bob has 3 plums. Ann has 5 pears. How many fruits?"), 95, same_numbers=True) == 100


def test_a_question_may_be_quoted_in_part_or_within_a_longer_one() -> None:
    assert numbers_nested(asked("5 and 3 and 3"), asked("3, 5")) and numbers_nested(asked("3, 5"), asked("5 and 3 and 3"))
    assert not numbers_nested(asked("5 and 4"), asked("5 and 3 and 3"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,000", "$1000.0$"),
        ("50\\%", "50%"),
        ("7-2\\pi", "7 - 2 \\pi"),
        ("83^\\circ", "83"),
        ("\\dfrac12", "\\frac12"),
        ("-0.50", "-.5"),
    ],
)
def test_answers_that_spell_the_same_have_one_key(one: str, other: str) -> None:
    assert answer_key(one) == answer_key(other) is not None


@pytest.mark.parametrize(("one", "other"), [("1", "-1"), ("50", "50%"), ("1 1/2", "11/2"), ("x", "y")])
def test_other_answers_have_other_keys(one: str, other: str) -> None:
    assert answer_key(one) != answer_key(other)


def test_an_answer_that_nobody_knows_differs_from_none() -> None:
    assert answer_key(None) is None and answer_key("  ") is None
    assert not answers_differ(asked("?", None), asked("?", "3")) and answers_differ(asked("?", "2"), asked("?", "3"))
