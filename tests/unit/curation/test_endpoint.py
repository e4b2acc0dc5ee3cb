"""Limits and back-off of one endpoint, on a clock of the test's own."""

import pytest

from rl_distill.curation.endpoint import Endpoint, EndpointConfig
from rl_distill.curation.failures import RetryPolicy, TeacherFailure
from rl_distill.curation.rate_bucket import RateBucket

RETRY = RetryPolicy(first_pause=1.0, max_pause=8.0, max_pauses=5)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def endpoint(clock: Clock, **settings: float) -> Endpoint:
    return Endpoint(EndpointConfig(base_url="http://x/v1", **settings), RETRY, label="x", clock=clock)


def test_any_minute_holds_at_most_the_limit_and_a_second_of_it():
    clock = Clock()
    bucket = RateBucket(120, clock)
    taken: list[float] = []
    while clock.now < 1300:
        if bucket.wait() == 0:
            bucket.take(1)
            taken.append(clock.now)
        else:
            clock.now += 0.05
    for start in taken:
        assert sum(start <= moment < start + 60 for moment in taken) <= 120 + 2 + 1
    assert len(taken) >= 2 * 300 * 0.95


def test_a_request_larger_than_the_bucket_leaves_a_debt_and_is_not_stuck():
    clock = Clock()
    bucket = RateBucket(600, clock)
    clock.now += 5
    assert bucket.wait() == 0
    bucket.take(610)  # ten are there
    assert bucket.wait() == pytest.approx(60.1)
    bucket.take(-500)
    assert bucket.wait() == pytest.approx(10.1)


def test_a_bucket_without_a_limit_is_never_empty():
    bucket = RateBucket(None, Clock())
    bucket.take(1e9)
    assert bucket.wait() == 0


def test_tokens_of_failed_calls_are_given_back():
    clock = Clock()
    one = endpoint(clock, tokens_per_minute=60_000)
    for _ in range(100):
        clock.now += 0.01
        one.begin(5000).end(0)
    assert one.wait() == 0


def test_pauses_grow_for_failures_in_a_row_and_an_answer_ends_that():
    clock = Clock()
    one = endpoint(clock)
    pauses = []
    for _ in range(5):
        one.failed(TeacherFailure("transport", "broke"), clock.now)
        pauses.append(one.wait())
        clock.now += pauses[-1]
    assert all(full / 2 <= pause <= full for pause, full in zip(pauses, [1, 2, 4, 8, 8], strict=True))
    one.answered(10)
    one.failed(TeacherFailure("transport", "broke"), clock.now)
    assert one.wait() <= 1


def test_calls_that_failed_together_are_one_failure():
    clock = Clock()
    one = endpoint(clock)
    began = clock.now
    clock.now += 1
    for _ in range(100):
        one.failed(TeacherFailure("rate_limit", "slow down"), began)
    assert one.wait() <= 1 and one.closed is None


def test_the_servers_own_wish_is_granted():
    one = endpoint(Clock())
    one.failed(TeacherFailure("rate_limit", "slow down", retry_after=17.0), 1000.0)
    assert one.wait() == 17.0


@pytest.mark.parametrize("kind", ["empty", "schema", "permanent"])
def test_what_is_wrong_with_one_answer_pauses_nobody(kind):
    one = endpoint(Clock())
    one.failed(TeacherFailure(kind, "odd"), 1000.0)
    assert one.wait() == 0 and one.closed is None


def test_an_endpoint_that_never_answers_is_given_up_with_its_last_words():
    clock = Clock()
    one = endpoint(clock)
    while one.closed is None:
        one.failed(TeacherFailure("transport", "refused"), clock.now)
        clock.now += one.wait()
    assert one.closed == "no answer after 5 pauses in a row; the last failure: refused"


def test_as_many_are_under_way_as_may_be():
    one = endpoint(Clock(), concurrency=2)
    first, _ = one.begin(1), one.begin(1)
    assert one.wait() == float("inf")
    first.end(2)
    assert one.wait() == 0
