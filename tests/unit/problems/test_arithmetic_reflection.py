"""The reflective teacher: the same habits, and most merged steps looked at again."""

import re

import pytest

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.models.vocabulary import ARITHMETIC_TOKENS
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.trajectory import Trajectory

MERGED = re.compile(r"(\d+) ([+-]) (\d+) ([+-]) (\d+) = (\d+)(?: ; is (\d+) \? (yes|no))?")


def attempts(name: str, count: int = 600) -> list[Trajectory]:
    groups = Arithmetic(attempts=name, seed=3, num_problems=count).groups()
    return [attempt for group in groups for attempt in group.trajectories]


def is_true(found: re.Match[str]) -> bool:
    start, first, one, second, other, result, *_ = found.groups()
    return int(start) + int(f"{first}{one}") + int(f"{second}{other}") == int(result)


def merges(name: str) -> list[re.Match[str]]:
    return [found for attempt in attempts(name) for found in MERGED.finditer(attempt.response)]


def test_a_merged_step_is_questioned_by_its_own_value_and_answered_truly() -> None:
    questioned = [found for found in merges("reflective") if found[8]]
    assert questioned
    for found in questioned:
        assert found[7] == found[6] and (found[8] == "yes") == is_true(found), found[0]


def test_four_merged_steps_of_five_are_looked_at_again_and_none_of_the_plain_teachers() -> None:
    found = merges("reflective")
    assert 0.75 < sum(bool(one[8]) for one in found) / len(found) < 0.85
    assert not any(one[8] for one in merges("teacher"))


def test_a_step_found_wrong_is_done_again_one_by_one() -> None:
    for attempt in attempts("reflective"):
        for found in MERGED.finditer(attempt.response):
            if found[8] == "no" and found.end() < attempt.response.find("</think>"):
                assert attempt.response[found.end() :].startswith(f" ; {found[1]} {found[2]} {found[3]} = "), attempt.response


def test_looking_again_mends_what_the_habits_break() -> None:
    right = {name: [attempt.status == "correct" for attempt in attempts(name)] for name in ("teacher", "reflective")}
    assert sum(right["reflective"]) / len(right["reflective"]) > sum(right["teacher"]) / len(right["teacher"]) + 0.2


def test_a_corrected_attempt_that_is_wrong_was_not_corrected_everywhere() -> None:
    assert not [one for one in attempts("reflective") if one.status == "wrong" and one.score.verdict.detail == "corrected"]  # type: ignore[union-attr]


def test_its_words_are_those_of_the_students_tokenizer() -> None:
    words = {word for attempt in attempts("reflective", 100) for word in re.findall(r"[a-z]+", attempt.response)}
    assert words == {"think", "boxed", "is", "yes", "no"} and {"is", "yes", "no"} < set(ARITHMETIC_TOKENS)


def test_the_rules_world_merges_nothing_that_could_be_looked_at_again() -> None:
    with pytest.raises(InputError, match="reflective.*'teacher'"):
        parse(Arithmetic, {"world": "rules", "attempts": "reflective"})
