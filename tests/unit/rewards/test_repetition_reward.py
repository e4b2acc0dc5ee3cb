"""Repeated n-grams cost, in proportion."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_distill.rewards.base import Attempt
from rl_distill.rewards.repetition import Repetition


@pytest.mark.parametrize(
    ("text", "ngram_words", "penalty"),
    [
        ("", 3, 0.0),
        ("one two", 3, 0.0),
        ("one two three four", 3, 0.0),
        ("a b c a b c", 3, -0.25),
        ("Wait wait WAIT wait", 1, -0.75),
        ("x " * 102, 3, -0.99),
    ],
)
def test_penalty_is_the_share_of_repeated_ngrams(text: str, ngram_words: int, penalty: float) -> None:
    assert Repetition(ngram_words=ngram_words).penalty(text) == pytest.approx(penalty)


@given(st.text(alphabet="ab \n", max_size=40), st.integers(1, 4))
def test_penalty_lies_between_minus_one_and_zero(text: str, ngram_words: int) -> None:
    assert -1.0 < Repetition(ngram_words=ngram_words).penalty(text) <= 0.0


def test_the_response_is_what_is_measured(attempt: Callable[..., Attempt]) -> None:
    assert Repetition(ngram_words=1).measure([attempt("a a"), attempt("a b")]) == [-0.5, 0.0]
