"""Nothing left is an error that says why."""

import pytest

from rl_distill.curation.drop import Drop, refuse_empty
from rl_distill.errors import InputError


def dropped(name: str, reason: str, attempt: int | None = None) -> Drop:
    return Drop(stage="pairs", problem_id=name, source="s", reason=reason, attempt=attempt)


def test_what_is_kept_is_no_error() -> None:
    refuse_empty("pairs", ["something"], [])


def test_reasons_are_counted_by_problem_and_the_first_is_the_example() -> None:
    drops = [dropped("a", "no_wrong"), dropped("a", "not_taken", 0), dropped("b", "no_correct"), dropped("c", "no_correct")]
    with pytest.raises(InputError) as error:
        refuse_empty("pairs", [], drops)
    assert str(error.value) == (
        "curation.pairs: left nothing of 3 problems (no_correct 2, no_wrong 1; for example 'a'); "
        "give other problems, or loosen the stage"
    )


def test_a_stage_that_got_nothing_is_not_blamed() -> None:
    with pytest.raises(InputError, match="got no problems"):
        refuse_empty("pairs", [], [])
