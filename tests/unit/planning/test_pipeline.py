"""Sampling ahead: by hand, and what must hold whatever the seconds are."""

import random

import pytest

from rl_distill.planning.pipeline import timeline

SETTLING = 0.01  # of a steady step: the simulation's mean is over whole steps, and shards do not end with them


def steady(shards, workers, rest, bound, steps=80):
    return timeline(shards, workers, rest, max_staleness=bound, steps=steps).steady


def test_without_running_ahead_each_waits_for_the_other():
    found = timeline([2.0, 1.0, 1.0], 2, 3.0, max_staleness=0, steps=4)
    assert found.seconds == (5.0,) * 4 and found.waited == (2.0,) * 4


def test_one_step_ahead_by_hand():
    """Sampling 4, learning 3: rounds end at 4, 8, 12; the learner is at work from 4 to 7, waits, is at work from 8 to 11."""
    found = timeline([4.0], 1, 3.0, max_staleness=1, steps=4)
    assert found.seconds == (7.0, 4.0, 4.0, 4.0) and found.waited == (4.0, 1.0, 1.0, 1.0)
    assert timeline([3.0], 1, 4.0, max_staleness=1, steps=4).seconds == (7.0, 4.0, 4.0, 4.0)


def test_nothing_is_sampled_for_steps_that_do_not_come():
    assert timeline([1.0], 1, 0.0, max_staleness=4, steps=2).seconds == (1.0, 1.0)


CASES = [(random.Random(seed), seed) for seed in range(20)]


@pytest.mark.parametrize(("drawn", "seed"), CASES)
def test_a_gain_is_never_below_1_nor_above_what_both_have_to_do(drawn, seed):
    workers, rest = drawn.randint(1, 6), drawn.uniform(0.1, 5.0)
    shards = [drawn.lognormvariate(0, 1) for _ in range(drawn.randint(1, 12))]
    waiting = steady(shards, workers, rest, 0)
    generate = waiting - rest
    least = max(sum(shards) / workers, rest)  # with one worker that is sampling itself
    times = [steady(shards, workers, rest, bound) for bound in (0, 1, 2, 4)]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in zip(times, times[1:], strict=False))
    for time in times:
        assert waiting / time >= 1 - 1e-9 and waiting / time <= (generate + rest) / least * (1 + SETTLING)
    if workers == 1:
        assert steady(shards, 1, rest, 1) == pytest.approx(max(generate, rest))


@pytest.mark.parametrize(("drawn", "seed"), CASES)
def test_more_workers_and_faster_learners_are_never_slower(drawn, seed):
    shards, bound = [drawn.lognormvariate(0, 1) for _ in range(9)], drawn.choice([0, 1, 2])
    by_workers = [steady(shards, workers, 2.0, bound) for workers in (1, 2, 3, 5, 9, 20)]
    assert all(more <= fewer * (1 + 1e-9) for fewer, more in zip(by_workers, by_workers[1:], strict=False))
    by_rest = [steady(shards, 2, rest, bound) for rest in (0.1, 1.0, 2.0, 8.0)]
    assert all(faster <= slower * (1 + 1e-9) for faster, slower in zip(by_rest, by_rest[1:], strict=False))
