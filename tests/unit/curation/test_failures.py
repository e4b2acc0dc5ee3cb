"""Types of failures."""

import random

import pytest

from rl_distill.config import parse
from rl_distill.curation.failures import RetryPolicy, failure_of_finish, failure_of_status
from rl_distill.errors import InputError


@pytest.mark.parametrize(
    ("status", "kind", "closes"),
    [
        (400, "permanent", False),
        (401, "permanent", True),
        (402, "permanent", True),
        (403, "permanent", True),
        (404, "permanent", True),
        (405, "permanent", True),
        (408, "time_out", False),
        (409, "transport", False),
        (413, "permanent", False),
        (422, "permanent", False),
        (429, "rate_limit", False),
        (500, "transport", False),
        (503, "transport", False),
        (529, "transport", False),
    ],
)
def test_a_status_has_one_type(status, kind, closes):
    failure = failure_of_status(status, "why\n\nnot")
    assert (failure.kind, failure.closes_endpoint, failure.message) == (kind, closes, f"HTTP {status}: why not")


def test_no_money_left_is_no_rate_limit():
    assert failure_of_status(429, "pay", code="insufficient_quota").closes_endpoint


@pytest.mark.parametrize(
    ("reason", "text", "kind"),
    [("stop", "x", None), ("stop", " \n", "empty"), ("length", "", "length"), ("length", "x", "length"), (None, "", "empty")],
)
def test_a_cut_off_answer_is_labelled_as_such_even_without_text(reason, text, kind):
    found = failure_of_finish(reason, text)
    assert (found and found[0]) == kind


def test_pauses_double_up_to_the_longest_and_differ_between_clients():
    retry = RetryPolicy(first_pause=1.0, max_pause=10.0)
    for number, longest in [(1, 1), (2, 2), (4, 8), (5, 10), (5000, 10)]:
        drawn = {retry.pause(number, random.Random(seed)) for seed in range(50)}
        assert len(drawn) == 50 and longest / 2 <= min(drawn) <= max(drawn) <= longest


def test_pauses_that_cannot_be_meant_are_refused():
    with pytest.raises(InputError, match="max_pause: is below first_pause"):
        parse(RetryPolicy, {"first_pause": 5.0, "max_pause": 1.0})
