from math import atan, inf, pi, sqrt
from statistics import NormalDist

import pytest

from rl_distill.evaluation.student_t import p_of_t, t_quantile

PRINTED = {  # any statistics textbook's table, columns .975 and .80
    1: (12.706, 1.376),
    2: (4.303, 1.061),
    3: (3.182, 0.978),
    4: (2.776, 0.941),
    9: (2.262, 0.883),
    10: (2.228, 0.879),
    29: (2.045, 0.854),
    30: (2.042, 0.854),
    100: (1.984, 0.845),
    1000: (1.962, 0.842),
}


@pytest.mark.parametrize(("degrees", "values"), PRINTED.items())
def test_the_quantiles_are_those_of_the_printed_table(degrees, values):
    assert (t_quantile(0.975, degrees), t_quantile(0.8, degrees)) == pytest.approx(values, abs=5e-4)


def test_few_degrees_of_freedom_widen_none_say_nothing_and_many_are_normal():
    found = [t_quantile(0.975, degrees) for degrees in range(1, 60)]
    assert found == sorted(found, reverse=True)
    assert t_quantile(0.975, 0) == inf
    assert t_quantile(0.975, 20_000) == pytest.approx(NormalDist().inv_cdf(0.975), abs=2e-4)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 4.3, 60.0])
def test_p_values_are_those_of_the_closed_forms_for_one_and_two_degrees(t):
    assert p_of_t(t, 1) == pytest.approx(1 - 2 * atan(t) / pi, abs=1e-12)
    assert p_of_t(-t, 2) == pytest.approx(1 - t / sqrt(2 + t * t), abs=1e-12)


@pytest.mark.parametrize("degrees", PRINTED)
def test_the_p_value_of_a_quantile_is_what_lies_beyond_it(degrees):
    assert p_of_t(t_quantile(0.975, degrees), degrees) == pytest.approx(0.05, abs=1e-9)
    assert p_of_t(3.0, 0) == 1.0, "one value says nothing"
