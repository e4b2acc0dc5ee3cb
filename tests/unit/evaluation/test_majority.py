from collections import Counter
from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_distill.evaluation.majority import majority_at_k


def by_hand(num_correct, wrong_votes, num_silent, k):
    """Every subset of k samples is drawn, and its majority taken; a tie is shared."""
    samples = ["right"] * num_correct + [None] * num_silent
    samples += [f"wrong {name}" for name, count in enumerate(wrong_votes) for _ in range(count)]
    credits = []
    for drawn in combinations(samples, k):
        votes = Counter(answer for answer in drawn if answer is not None)
        most = max(votes.values(), default=0)
        leaders = [answer for answer, count in votes.items() if count == most]
        credits.append(1 / len(leaders) if "right" in leaders else 0.0)
    return fmean(credits)


@given(st.integers(0, 5), st.lists(st.integers(1, 4), max_size=3), st.integers(0, 3), st.integers(1, 8))
def test_it_is_the_mean_over_all_subsets(num_correct, wrong_votes, num_silent, k):
    total = num_correct + sum(wrong_votes) + num_silent
    if k <= total:
        assert majority_at_k(num_correct, wrong_votes, num_silent, k) == pytest.approx(
            by_hand(num_correct, wrong_votes, num_silent, k)
        )


def test_a_tie_is_shared_and_silence_does_not_vote():
    assert majority_at_k(2, [2], 0, 4) == 0.5
    assert majority_at_k(2, [2, 2], 0, 6) == pytest.approx(1 / 3)
    assert majority_at_k(1, [], 7, 8) == 1.0
    assert majority_at_k(0, [], 4, 4) == 0.0


def test_one_sample_is_its_own_majority():
    assert majority_at_k(3, [4, 1], 2, 1) == pytest.approx(3 / 10)


@pytest.mark.parametrize("k", [0, 5])
def test_k_beyond_the_samples_is_refused(k):
    with pytest.raises(ValueError, match=rf"k: {k} is not in 1\.\.4"):
        majority_at_k(2, [1], 1, k)


def test_many_samples_with_as_many_answers_are_no_problem():
    assert 0 < majority_at_k(30, [2] * 50, 6, 136) <= 1
