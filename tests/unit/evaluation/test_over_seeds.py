"""A mean over seeds by hand, and Holm's correction by hand."""

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_distill.evaluation.over_seeds import holm, mean_over_seeds
from rl_distill.evaluation.student_t import p_of_t

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def test_an_interval_over_seeds_by_hand() -> None:
    found = mean_over_seeds([0.5, 0.6, 0.7])  # error .1 / sqrt 3
    assert found.mean == pytest.approx(0.6) and found.interval is not None
    assert found.interval.high - 0.6 == pytest.approx(4.30265 * 0.1 / sqrt(3), rel=1e-5)
    assert found.p_value == pytest.approx(p_of_t(0.6 / (0.1 / sqrt(3)), 2), rel=1e-6)


@pytest.mark.parametrize("values", [[0.4], [0.4, 0.4], [0.0, 0.0, 0.0]])
def test_without_spread_there_is_neither_interval_nor_test(values: list[float]) -> None:
    found = mean_over_seeds(values)
    assert (found.mean, found.interval, found.p_value) == (values[0], None, None)
    assert found.no_spread == (len(values) > 1)


def test_a_spread_that_is_rounding_only_is_none() -> None:
    found = mean_over_seeds([0.3 - 0.2, 0.8 - 0.7, 0.5 - 0.4, 1e-17 + 0.1])
    assert found.no_spread and found.p_value is None
    assert mean_over_seeds([(0.1 + 0.2) - 0.3, 0.0, 0.0]).no_spread, "around 0 too"
    assert not mean_over_seeds([0.1, 0.1, 0.1 + 1 / 4096]).no_spread


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


@given(P_VALUES)
def test_holm_keeps_the_order_and_lies_between_the_p_value_and_bonferronis(values: list[float]) -> None:
    corrected = holm(values)
    assert all(one <= other <= min(1, one * len(values)) + 1e-12 for one, other in zip(values, corrected, strict=True))
    assert [p for _, p in sorted(zip(values, corrected, strict=True))] == sorted(corrected)
