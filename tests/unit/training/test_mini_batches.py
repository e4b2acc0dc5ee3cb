from hypothesis import given
from hypothesis import strategies as st

from rl_distill.training.loop import mini_batches
from rl_distill.trajectory import Sample, Trajectory

ATTEMPT = Trajectory(problem_id="p", messages=(), model="m", origin="policy")


def rows(units: str) -> list[Sample]:
    """One row for each letter; `-` is a row that stands alone."""
    return [Sample(trajectory=ATTEMPT, unit="" if unit == "-" else unit, advantage=place) for place, unit in enumerate(units)]


def places(parts: list[list[Sample]]) -> list[list[float]]:
    return [[sample.advantage for sample in part] for part in parts]


def test_rows_are_cut_into_parts_of_nearly_equal_size_in_order():
    assert places(mini_batches(rows("-----"), 2)) == [[0, 1], [2, 3, 4]]
    assert places(mini_batches(rows("------"), 3)) == [[0, 1], [2, 3], [4, 5]]


def test_rows_of_a_unit_stay_together_even_if_others_stand_between_them():
    assert places(mini_batches(rows("abab"), 2)) == [[0, 2], [1, 3]]


def test_there_are_never_more_parts_than_units():
    assert len(mini_batches(rows("aaaa"), 3)) == 1 and mini_batches([], 3) == []


@given(st.text("abc-", max_size=20), st.integers(1, 6))
def test_every_row_is_in_exactly_one_part_and_no_part_is_empty(units, count):
    parts = mini_batches(rows(units), count)
    assert sorted(place for part in places(parts) for place in part) == list(range(len(units)))
    assert all(parts) and len(parts) <= count
    for letter in "abc":
        assert sum(any(sample.unit == letter for sample in part) for part in parts) <= 1
    sizes = [len({sample.unit or sample.advantage for sample in part}) for part in parts]
    assert not sizes or max(sizes) - min(sizes) <= 1
