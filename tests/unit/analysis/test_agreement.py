import pytest

from rl_distill.analysis.agreement import cohens_kappa


def test_kappa_of_a_table_worked_by_hand() -> None:
    """Both yes 20, first alone 5, second alone 10, both no 15: agreement 0.7, chance 0.5."""
    first = [True] * 25 + [False] * 25
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert cohens_kappa(first, second) == pytest.approx(0.4)


def test_kappa_has_its_limits() -> None:
    assert cohens_kappa([True, False], [True, False]) == 1
    assert cohens_kappa([True, False], [False, True]) == -1
    assert cohens_kappa([True, True], [True, True]) is None
    assert cohens_kappa([], []) is None
    with pytest.raises(ValueError, match="same cases"):
        cohens_kappa([True], [])
