import json
from itertools import combinations
from math import comb
from pathlib import Path
from random import Random
from statistics import fmean

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_distill.evaluation.intervals import Z_95, clustered_interval, pass_at_k
from rl_distill.evaluation.student_t import t_quantile

VECTORS = json.loads((Path(__file__).parents[2] / "parity" / "grpo_vectors.json").read_text())["pass_at_k"]


@pytest.mark.parametrize("vector", VECTORS)
def test_pass_at_k_equals_the_published_formula(vector):
    assert pass_at_k(vector["n"], vector["c"], vector["k"]) == pytest.approx(vector["pass_at_k"], abs=1e-12)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_correct_one(case):
    num_samples, num_correct, k = case
    draws = list(combinations([True] * num_correct + [False] * (num_samples - num_correct), k))
    assert pass_at_k(num_samples, num_correct, k) == pytest.approx(sum(map(any, draws)) / comb(num_samples, k))


@pytest.mark.parametrize("k", [0, -1, 5])
def test_more_samples_than_were_drawn_are_refused(k):
    with pytest.raises(ValueError, match=rf"k: {k} is not in 1..4"):
        pass_at_k(4, 2, k)


@pytest.mark.parametrize(("successes", "trials"), [(0, 100), (1, 2), (3, 10), (50, 100), (100, 100)])
def test_with_one_sample_a_problem_the_interval_is_wilsons_up_to_the_sample_variance(successes, trials):
    estimated = 0 < successes < trials
    p, z = successes / trials, t_quantile(0.975, trials - 1) if estimated else Z_95
    effective = trials - 1 if estimated else trials  # variance() divides by n - 1
    center = (p + z * z / (2 * effective)) / (1 + z * z / effective)
    half = z / (1 + z * z / effective) * (p * (1 - p) / effective + z * z / (4 * effective**2)) ** 0.5
    found = clustered_interval([1.0] * successes + [0.0] * (trials - successes))
    assert found == pytest.approx((p, max(0, center - half), min(1, center + half)))


def test_all_wrong_and_all_right_still_have_an_interval():
    none, every = clustered_interval([0.0] * 100), clustered_interval([1.0] * 100)
    assert none.mean == none.low == 0.0 and none.high == pytest.approx(0.037, abs=5e-4)
    assert every.mean == every.high == 1.0 and every.low == pytest.approx(1 - none.high)


def test_one_problem_says_very_little():
    assert clustered_interval([0.5]) == pytest.approx((0.5, 0.0546, 0.9454), abs=1e-3)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=60))
def test_the_interval_holds_the_mean_lies_in_0_to_1_and_mirrors(means):
    found, mirrored = clustered_interval(means), clustered_interval([1 - mean for mean in means])
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert mirrored == pytest.approx((1 - found.mean, 1 - found.high, 1 - found.low))


def test_more_problems_narrow_the_interval_and_more_right_ones_raise_it():
    def widths(count):
        low, high = clustered_interval([0.0, 1.0] * count)[1:]
        return high - low

    assert widths(5) > widths(20) > widths(100)
    rising = [clustered_interval([1.0] * right + [0.0] * (20 - right)) for right in range(21)]
    assert all(
        later.low >= earlier.low and later.high >= earlier.high for earlier, later in zip(rising, rising[1:], strict=False)
    )


def test_samples_of_one_problem_are_one_cluster():
    agreeing = clustered_interval([0.0, 1.0] * 10)
    mixed = clustered_interval([0.5, 0.5, 0.25, 0.75] * 5)
    assert agreeing.mean == mixed.mean == 0.5
    assert mixed.high - mixed.low < agreeing.high - agreeing.low


@pytest.mark.parametrize(("rate", "problems", "samples"), [(0.1, 40, 1), (0.5, 25, 4), (0.9, 60, 4), (0.3, 100, 2)])
def test_the_interval_covers_the_truth_about_95_times_in_100(rate, problems, samples):
    """Each problem has a difficulty of its own around `rate`, so samples of one problem go together."""
    rng, rounds, covered = Random(0), 1500, 0
    for _ in range(rounds):
        means = []
        for _ in range(problems):
            difficulty = rng.betavariate(4 * rate, 4 * (1 - rate))
            means.append(sum(rng.random() < difficulty for _ in range(samples)) / samples)
        found = clustered_interval(means)
        covered += found.low <= rate <= found.high
    assert 0.92 <= covered / rounds <= 0.985


@pytest.mark.parametrize(
    ("rate", "problems", "samples", "spread"),
    [(0.5, 10, 16, 10), (0.3, 10, 16, 10), (0.3, 10, 4, 4), (0.7, 10, 8, 2), (0.5, 5, 16, 10), (0.3, 5, 8, 4), (0.5, 3, 16, 10)],
)
def test_few_problems_that_estimate_their_own_spread_are_given_the_width_for_it(rate, problems, samples, spread):
    """With the normal quantile, .83 to .94 of them: 1.96 standard errors are too few where the error is itself a guess."""
    random = numpy.random.default_rng(0)
    chances = random.beta(spread * rate, spread * (1 - rate), size=(2000, problems))
    seen = random.binomial(samples, chances) / samples
    covered = [found.low <= rate <= found.high for found in map(clustered_interval, seen.tolist())]
    assert fmean(covered) >= 0.94


def test_no_problem_at_all_is_refused():
    with pytest.raises(ValueError, match="problem_means: empty"):
        clustered_interval([])
