"""Answers as votes: one spelling for what is plainly the same."""

import pytest

from rl_distill.rewards import Accuracy, MultipleChoice, UnitTests

SAME = [("1,080", "$1080$"), ("0.50", ".5"), (r"\dfrac{1}{2}", r"\frac{1}{2}"), (r"50\%", "50 %"), (r"\text{tea}", "tea")]
SAME += [("\u0663x", "3x")]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_answers_that_differ_in_typesetting_are_one_vote(one, other):
    grader = Accuracy()
    assert grader.stated_answer(rf"\boxed{{{one}}}") == grader.stated_answer(rf"thus \boxed{{{other}}}") is not None


@pytest.mark.parametrize(("one", "other"), [("50", r"50\%"), ("1", "-1"), ("x", "y"), ("猫", "犬"), ("5\u00b2", "52")])
def test_other_answers_are_other_votes(one, other):
    assert Accuracy().stated_answer(rf"\boxed{{{one}}}") != Accuracy().stated_answer(rf"\boxed{{{other}}}")


def test_no_box_is_no_vote_and_programs_are_not_counted():
    assert Accuracy().stated_answer("") is None is Accuracy().stated_answer("42")
    assert MultipleChoice().stated_answer(r"\boxed{c}") == "C"
    assert not UnitTests.states_answers and Accuracy.states_answers and MultipleChoice.states_answers


def test_a_box_of_a_million_digits_is_a_vote_of_its_own():
    digits = "1" * 10**6
    assert Accuracy().stated_answer(rf"\boxed{{{digits}}}") == digits
