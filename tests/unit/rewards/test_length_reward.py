"""DAPO's soft overlong punishment at and around its two corners."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.rewards.base import Attempt
from rl_distill.rewards.length import SoftOverlong


@pytest.mark.parametrize(
    ("length", "penalty"),
    [(0, 0.0), (16000, 0.0), (16384, 0.0), (17408, -0.25), (18432, -0.5), (20480, -1.0), (20481, -1.0), (10**9, -1.0)],
)
def test_penalty_at_dapos_setting(length: int, penalty: float) -> None:
    assert SoftOverlong().penalty(length) == penalty


def test_length_counts_sampled_tokens_only(attempt: Callable[..., Attempt]) -> None:
    two_of_four = attempt("x")
    assert SoftOverlong(max_tokens=2, cache_tokens=2).measure([two_of_four]) == [-1.0]
    assert SoftOverlong(max_tokens=4, cache_tokens=4).measure([two_of_four]) == [-0.5]


def test_text_without_tokens_has_no_length_and_no_reward(attempt: Callable[..., Attempt]) -> None:
    problem, trajectory = attempt("x")
    assert SoftOverlong().measure([(problem, replace(trajectory, token_ids=(), sampled=()))]) == [None]


def test_band_wider_than_the_limit_is_refused() -> None:
    with pytest.raises(InputError, match="cache_tokens: is 5, more than max_tokens = 4; give at most max_tokens"):
        parse(SoftOverlong, {"max_tokens": 4, "cache_tokens": 5})
