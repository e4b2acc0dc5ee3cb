from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_distill.training.cursor import Cursor


def walk(cursor: Cursor, count: int) -> list[int]:
    return [next(cursor) for _ in range(count)]


@given(st.integers(1, 30), st.integers(1, 4), st.booleans())
def test_every_item_comes_once_in_each_epoch(count, epochs, shuffle):
    cursor = Cursor(count, 0, shuffle=shuffle)
    for epoch in range(epochs):
        assert cursor.epoch == epoch
        assert sorted(walk(cursor, count)) == list(range(count))


def test_without_shuffling_the_order_is_that_of_the_set():
    assert walk(Cursor(3, 0, shuffle=False), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_each_epoch_and_each_seed_has_an_order_of_its_own():
    cursor = Cursor(50, 0, shuffle=True)
    orders = [walk(cursor, 50), walk(cursor, 50), walk(Cursor(50, 1, shuffle=True), 50)]
    assert len({tuple(order) for order in orders}) == 3
    assert walk(Cursor(50, 0, shuffle=True), 50) == orders[0]


@pytest.mark.parametrize("taken", [0, 1, 6, 7, 8, 20])
def test_a_cursor_set_to_where_another_stood_goes_on_like_it(taken):
    first, second = (Cursor(7, 0, shuffle=True) for _ in range(2))
    walk(first, taken)
    second.taken = first.taken
    assert walk(first, 20) == walk(second, 20)


def test_a_cursor_never_ends():
    cursor = Cursor(1, 0, shuffle=True)
    assert list(islice((next(cursor) for _ in range(100)), 100)) == [0] * 100 and cursor.epoch == 100
