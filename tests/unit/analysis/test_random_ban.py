import pytest

from rl_distill.analysis.random_ban import MARKUP, random_ban
from rl_distill.analysis.words import words
from rl_distill.errors import InputError

TEXT = "<think> wait so a b a c d e f g h 12 7 try again </think> \\boxed{7} answer let me wait a b " + "x y z u v w " * 2


def test_the_control_occurs_as_often_and_shares_nothing(recorded) -> None:
    responses = [recorded(TEXT)] * 20
    banned = ["wait", "try again", "let me"]
    found = random_ban(responses, banned, 0)
    counted = sum(word.text in found.words for response in responses for word in words(response.text))
    assert (found.target, found.count) == (80, counted)
    assert abs(counted - 80) <= 4
    assert not set(found.words) & ({"wait", "try", "again", "let", "me"} | MARKUP)
    assert all(word.isalpha() for word in found.words)


def test_a_seed_is_a_choice(recorded) -> None:
    responses = [recorded(TEXT)] * 20
    assert random_ban(responses, ["wait"], 0) == random_ban(responses, ["wait"], 0)
    assert len({random_ban(responses, ["wait"], seed).words for seed in range(8)}) > 2


def test_what_cannot_be_matched_is_refused(recorded) -> None:
    with pytest.raises(InputError, match="none of these words occurs"):
        random_ban([recorded(TEXT)], ["alternatively"], 0)
    with pytest.raises(InputError, match="occur 3 times"):
        random_ban([recorded("wait wait wait 12 13 so")], ["wait"], 0)
