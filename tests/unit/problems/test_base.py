"""What every set that is read at once is checked for."""

import pytest

from rl_distill.errors import InputError
from rl_distill.problems.base import checked, dialogue, same_text, teacher_trajectory
from rl_distill.trajectory import Group, Message, Problem, Verdict


def group(*attempts: tuple[str, str], identifier: str = "p") -> Group:
    problem = Problem(id=identifier, prompt="1 + 1 = ?", answer="2", source="test")
    trajectories = tuple(
        teacher_trajectory(problem, dialogue("1 + 1 = ?", text), model="m", verdict=Verdict(status=status, method="dataset"))
        for status, text in attempts
    )
    return Group(problem=problem, trajectories=trajectories)


def test_an_attempt_that_is_correct_and_wrong_is_refused_wherever_it_stands_in_its_group() -> None:
    sound = group(("correct", "2"), ("wrong", "3"), ("correct", "2"), ("wrong", "3"), ("unverifiable", "2"))
    assert checked([sound], "set") == [sound]
    with pytest.raises(InputError, match=r"problems 'set': problem 'p' has a correct and a wrong attempt with the same text"):
        checked([group(("wrong", "3"), ("wrong", "4 "), ("correct", "2"), ("correct", " 4"))], "set")


def test_the_same_text_about_two_problems_is_no_contradiction() -> None:
    assert len(checked([group(("correct", "2")), group(("wrong", "2"), identifier="q")], "set")) == 2


@pytest.mark.parametrize("status", ["correct", "wrong"])
def test_an_attempt_that_says_nothing_is_refused(status: str) -> None:
    with pytest.raises(InputError, match="problem 'p' has an attempt that says nothing; give its text"):
        checked([group((status, " \n"))], "set")


def test_white_space_around_a_turn_says_nothing_and_inside_it_does() -> None:
    assert same_text(dialogue("q", "a b"), dialogue("q ", "\na b"))
    assert not same_text(dialogue("q", "a b"), dialogue("q", "a  b"))
    assert not same_text((Message("user", "a"),), (Message("assistant", "a"),))
