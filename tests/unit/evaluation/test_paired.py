from itertools import product
from random import Random
from statistics import fmean

import numpy
import pytest

from rl_distill.evaluation.intervals import Interval
from rl_distill.evaluation.paired import FEWEST_PROBLEMS, PairedDifference, paired_difference, sign_flip_test
from rl_distill.evaluation.student_t import t_quantile


def by_hand(differences):
    """Share of all assignments of signs whose sum is at least as far from 0."""
    sums = [
        sum(sign * value for sign, value in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return sum(abs(value) >= abs(sum(differences)) - 1e-9 for value in sums) / len(sums)


def test_few_differences_are_tested_exactly():
    differences = [0.5, 0.25, 0.25, -0.25, 0.75, 0.0, 0.5, 0.0, -0.5]
    assert sign_flip_test(differences) == (pytest.approx(by_hand(differences)), True)


def test_many_differences_are_drawn_with_a_seed_and_come_near_the_exact_value():
    differences = [0.25, -0.25, 0.5, 0.25, 0.25, 0.5, -0.5, 0.25, -0.25, 0.25, 0.75, 0.5, -0.25, 0.25, 0.25]
    drawn, exact = sign_flip_test(differences, seed=1)
    assert not exact and drawn == sign_flip_test(differences, seed=1)[0] != sign_flip_test(differences, seed=2)[0]
    assert drawn == pytest.approx(by_hand(differences), abs=0.02)


def test_equal_students_are_not_told_apart_and_yet_not_called_equal():
    found = paired_difference([0.0] * 30)
    assert (found.p_value, found.exact, found.separated, found.ties) == (1.0, True, False, 30)
    low, high = found.difference.low, found.difference.high
    assert found.difference.mean == 0 and low == -high and high == pytest.approx(t_quantile(0.975, 29) / 32)
    assert found.detectable == pytest.approx((t_quantile(0.975, 29) + t_quantile(0.8, 29)) / 32)


def test_a_clear_difference_is_found_and_its_sign_is_second_minus_first():
    found = paired_difference([0.5] * 20 + [-0.25] * 3 + [0.0] * 7)
    assert found.separated and found.difference.mean > 0 and found.difference.low > 0
    assert (found.wins, found.losses, found.ties) == (20, 3, 7)


def test_more_problems_resolve_smaller_differences():
    differences = [0.25, -0.25, 0.0, 0.5, -0.5]
    assert paired_difference(differences * 20).detectable < paired_difference(differences * 2).detectable / 2


def test_where_there_is_no_difference_the_test_is_right_and_the_interval_covers():
    random, found = Random(0), 0
    missed = 0
    for _ in range(300):
        differences = [random.choice((-0.5, -0.25, 0.0, 0.25, 0.5)) for _ in range(13)]
        one = paired_difference(differences)
        found += one.p_value < 0.05
        missed += not one.difference.low <= 0 <= one.difference.high
    assert found <= 24 and missed <= 24  # of 300, with 15 expected


@pytest.mark.parametrize("num_samples", [1, 4, 16])
def test_the_interval_covers_the_difference_of_students_on_problems_that_most_of_them_solve_always_or_never(num_samples):
    random = numpy.random.default_rng(0)

    def chances(shape):
        logit = 4.0 * random.normal(size=shape)
        return 1 / (1 + numpy.exp(-logit)), 1 / (1 + numpy.exp(-logit - 0.5 - random.normal(size=shape)))

    first, second = chances(400_000)
    truth = float((second - first).mean())
    first, second = chances((500, 30))
    seen = (random.binomial(num_samples, second) - random.binomial(num_samples, first)) / num_samples
    covered = [one.difference.low <= truth <= one.difference.high for one in map(paired_difference, seen.tolist())]
    assert 0.92 <= fmean(covered) <= 0.99


@pytest.mark.parametrize(
    ("problems", "num_samples", "gain"), [(5, 4, 2.0), (5, 16, 2.0), (5, 16, 0.5), (10, 1, 2.0), (10, 4, 2.0), (10, 16, 2.0)]
)
def test_few_problems_are_given_the_width_for_a_spread_that_they_estimate_themselves(problems, num_samples, gain):
    """With the normal quantile .88 to .95 of them: 1.96 standard errors are too few where the error is itself a guess."""
    random = numpy.random.default_rng(0)

    def chances(shape):
        logit = random.normal(size=shape)
        return 1 / (1 + numpy.exp(-logit)), 1 / (1 + numpy.exp(-logit - gain - random.normal(size=shape)))

    first, second = chances(400_000)
    truth = float((second - first).mean())
    first, second = chances((2000, problems))
    seen = (random.binomial(num_samples, second) - random.binomial(num_samples, first)) / num_samples
    covered = [one.difference.low <= truth <= one.difference.high for one in map(paired_difference, seen.tolist())]
    assert fmean(covered) >= 0.935


def result(p_value, low, high):
    return PairedDifference(
        difference=Interval(0.1, low, high), p_value=p_value, exact=True, detectable=0.1, wins=1, losses=0, ties=0
    )


@pytest.mark.parametrize(
    ("p_value", "low", "high", "separated", "agrees"),
    [
        (0.01, 0.05, 0.15, True, True),
        (0.01, -0.05, 0.25, True, False),
        (0.06, -0.05, 0.25, False, True),
        (0.06, 0.05, 0.15, False, False),
        (0.04996, 0.05, 0.15, False, False),  # written as 0.0500
        (0.0499, 0.05, 0.15, True, True),
    ],
)
def test_the_written_p_value_decides_and_an_interval_that_says_otherwise_is_known(p_value, low, high, separated, agrees):
    found = result(p_value, low, high)
    assert (found.separated, found.interval_agrees) == (separated, agrees)


def test_as_many_problems_as_are_called_too_few_can_never_be_separated_and_one_more_can():
    assert not paired_difference([1.0] * (FEWEST_PROBLEMS - 1)).separated
    assert paired_difference([1.0] * FEWEST_PROBLEMS).separated


def test_one_problem_says_nothing_of_the_spread_and_excludes_nothing():
    found = paired_difference([0.25])
    assert found.difference == (0.25, -1.0, 1.0) and found.detectable == 1.0


def test_no_problem_is_no_comparison():
    with pytest.raises(ValueError, match="empty"):
        paired_difference([])
