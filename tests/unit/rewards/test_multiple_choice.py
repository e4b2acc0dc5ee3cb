import pytest

from rl_distill.errors import InputError
from rl_distill.rewards import MultipleChoice
from rl_distill.trajectory import Message, Problem, Trajectory


def verdict(response, gold="B", finish_reason="stop"):
    problem = Problem(id="p", prompt="?", answer=gold, source="s")
    attempt = Trajectory(
        problem_id="p", messages=(Message("assistant", response),), model="m", origin="policy", finish_reason=finish_reason
    )
    (found,) = MultipleChoice().verdicts([(problem, attempt)])
    return found.status, found.method


@pytest.mark.parametrize(
    "box", ["B", "b", "(B)", r"\text{B}", r"\text{(b)}", "B. 3 kg", "B) the second", r"\textbf{B}", " B ", "$B$", "B: so"]
)
def test_the_letter_is_read_however_it_is_set(box):
    assert verdict(rf"so it is \boxed{{{box}}}") == ("correct", "letter")


def test_another_letter_is_wrong_and_the_last_box_after_the_thinking_counts():
    assert verdict(r"\boxed{C}") == ("wrong", "letter")
    assert verdict(r"<think>\boxed{B}</think> no: \boxed{D}") == ("wrong", "letter")


@pytest.mark.parametrize(
    "response", ["", "the answer is B", r"\boxed{}", r"\boxed{Both}", r"\boxed{12}", r"\boxed{答え}", r"\boxed{B"]
)
def test_a_letter_outside_a_box_and_a_box_without_one_earn_nothing(response):
    assert verdict(response) == ("wrong", "no_letter")


def test_a_cut_response_is_truncated_a_failed_one_unverifiable_and_no_gold_is_nobodys_fault():
    assert verdict("thinking", finish_reason="length") == ("wrong", "truncated")
    assert verdict(r"\boxed{B}", finish_reason="error") == ("unverifiable", "generation_error")
    assert verdict(r"\boxed{B}", gold=None) == ("unverifiable", "no_gold")


@pytest.mark.parametrize("gold", ["b", "BC", "2"])
def test_a_gold_answer_that_is_no_letter_of_a_choice_is_refused_by_its_problem(gold):
    with pytest.raises(InputError, match="problem 'p'"):
        verdict(r"\boxed{B}", gold=gold)


def test_a_box_of_a_million_characters_is_no_letter():
    assert verdict(r"\boxed{B. " + "x " * 500_000 + "}") == ("wrong", "no_letter")
