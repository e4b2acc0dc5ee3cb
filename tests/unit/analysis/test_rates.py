import pytest

from rl_distill.analysis.rates import Event, Resampling, separated

PROBLEMS = [f"p{number}" for number in range(40)]


def events(step: int) -> list[Event]:
    return [Event(problem, float(number % step == 0), 10.0) for number, problem in enumerate(PROBLEMS)]


def test_a_rate_is_the_ratio_of_sums() -> None:
    found = Resampling(["a", "b"], 0).ratio([Event("a", 1, 10), Event("a", 3, 10), Event("b", 0, 80)], 1000)
    assert found.value == 40
    assert found.low is not None and found.high is not None and found.low <= 40 <= found.high


def test_the_interval_is_the_same_for_the_same_seed_and_moves_with_it() -> None:
    assert Resampling(PROBLEMS, 0).ratio(events(4)) == Resampling(PROBLEMS, 0).ratio(events(4))
    uneven = [event._replace(size=1.0 + number) for number, event in enumerate(events(4))]
    assert Resampling(PROBLEMS, 0).ratio(uneven) != Resampling(PROBLEMS, 1).ratio(uneven)


def test_more_responses_to_the_same_problems_do_not_narrow_the_interval() -> None:
    once, often = (Resampling(PROBLEMS, 0).ratio(events(4) * times) for times in (1, 25))
    assert often == pytest.approx(once)


def test_the_interval_has_the_width_of_a_standard_error_over_problems() -> None:
    problems = [f"p{number}" for number in range(400)]
    found = Resampling(problems, 0).ratio([Event(one, float(number % 4 == 0), 1.0) for number, one in enumerate(problems)])
    assert found.high - found.low == pytest.approx(2 * 1.96 * (0.25 * 0.75 / 400) ** 0.5, rel=0.1)


def test_a_difference_on_the_same_problems_is_paired() -> None:
    """Problems differ a lot, the models by the same little amount on each: only a paired interval sees that."""
    first = [Event(problem, float(number), 1.0) for number, problem in enumerate(PROBLEMS)]
    second = [event._replace(amount=event.amount + 0.5) for event in first]
    found = Resampling(PROBLEMS, 0).difference(first, second)
    assert found == pytest.approx((0.5, 0.5, 0.5))
    assert separated(found)


def test_nothing_observed_is_no_value_and_one_problem_has_no_interval() -> None:
    assert Resampling(["a"], 0).ratio([]) == (None, None, None)
    assert Resampling(["a", "b"], 0).difference([], events(2)[:0]) == (None, None, None)
    found = Resampling(["a"], 0).ratio([Event("a", 1, 2)])
    assert found == (0.5, None, None)
    assert not separated(found)


def test_a_value_that_rests_on_one_of_many_problems_has_no_interval() -> None:
    problems = Resampling(PROBLEMS, 0)
    assert problems.ratio([Event("p0", 1, 2)]) == (0.5, None, None)
    assert problems.difference(events(2), [Event("p0", 1, 2)])[1:] == (None, None)


def test_a_share_of_nothing_at_all_is_not_known_to_be_zero() -> None:
    found = Resampling(PROBLEMS, 0).share([Event(problem, 0.0, 1.0) for problem in PROBLEMS])
    assert (found.value, found.low) == (0, 0) and 0.05 < found.high < 0.15
