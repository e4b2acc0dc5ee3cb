import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_distill.learning.schedule import rate_fraction


def shape(schedule, total=10, warmup=2, floor=0.0):
    return [rate_fraction(step, schedule=schedule, warmup_steps=warmup, total_steps=total, floor=floor) for step in range(total)]


def test_the_rate_rises_in_equal_steps_and_its_first_step_moves():
    assert shape("constant", warmup=3)[:4] == [0.25, 0.5, 0.75, 1.0]
    assert shape("constant", warmup=0) == [1.0] * 10


def test_linear_falls_in_a_straight_line_towards_the_floor():
    assert shape("linear") == pytest.approx([1 / 3, 2 / 3, *(1 - step / 8 for step in range(8))])
    assert shape("linear", floor=0.2)[-1] == pytest.approx(0.2 + 0.8 / 8)


def test_cosine_falls_along_half_a_wave():
    assert shape("cosine")[2:] == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_step_past_the_end_stays_at_the_floor(schedule):
    assert rate_fraction(99, schedule=schedule, warmup_steps=2, total_steps=10, floor=0.1) == pytest.approx(0.1)


@given(
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    total=st.integers(1, 50),
    warmup=st.integers(0, 60),
    floor=st.floats(0, 1),
)
def test_the_rate_is_positive_never_above_its_peak_and_never_rises_after_the_warm_up(schedule, total, warmup, floor):
    rates = shape(schedule, total, warmup, floor)
    assert all(0 < rate <= 1 + 1e-12 for rate in rates)
    assert all(later <= earlier + 1e-12 for earlier, later in zip(rates[warmup:], rates[warmup + 1 :], strict=False))
    assert all(later > earlier for earlier, later in zip(rates[:warmup], rates[1:warmup], strict=False))


def test_a_decaying_schedule_needs_the_number_of_steps():
    with pytest.raises(ValueError, match="schedule: 'linear' needs to know the number of steps"):
        rate_fraction(3, schedule="linear", warmup_steps=2, total_steps=None)
    assert rate_fraction(3, schedule="constant", warmup_steps=2, total_steps=None) == 1.0
