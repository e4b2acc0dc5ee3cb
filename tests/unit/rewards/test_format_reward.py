"""The shape of a response: one think block, then a boxed answer."""

from collections.abc import Callable
from typing import Literal

import pytest

from rl_distill.errors import InputError
from rl_distill.rewards.base import Attempt
from rl_distill.rewards.format import Format


@pytest.mark.parametrize(
    "response",
    [r"<think>2 + 2</think> \boxed{4}", "\n<think>\nx\n</think>\n\\boxed{4}", r"<think>\boxed{3}?</think>\boxed{\frac{1}{2}}"],
)
def test_well_formed_response_earns_one(response: str, attempt: Callable[..., Attempt]) -> None:
    assert Format().measure([attempt(response)]) == [1.0]


@pytest.mark.parametrize(
    "response",
    [
        "",
        r"\boxed{4}",
        r"<think>x \boxed{4}",
        r"<think>x</think> 4",
        r"<think>x \boxed{4}</think> done",
        r"x</think> \boxed{4}",
        r"well <think>x</think> \boxed{4}",
        r"<think>x</think><think>y</think> \boxed{4}",
        r"<think><think>x</think> \boxed{4}",
        r"</think><think> \boxed{4}",
        r"<think>x</think> \boxed{}",
        r"<think>x</think> \boxed{4",
    ],
)
def test_any_flaw_earns_nothing(response: str, attempt: Callable[..., Attempt]) -> None:
    assert Format().measure([attempt(response)]) == [0.0]


@pytest.mark.parametrize(
    ("think", "boxed", "response", "expected"),
    [
        ("prefilled", True, r"x</think> \boxed{4}", True),
        ("prefilled", True, r"<think>x</think> \boxed{4}", False),
        ("any", True, r"so \boxed{4}", True),
        ("any", True, "so 4", False),
        ("block", False, "<think>x</think> 4", True),
        ("block", False, "<think>x", False),
    ],
)
def test_keys_choose_what_is_demanded(
    think: Literal["block", "prefilled", "any"], boxed: bool, response: str, expected: bool
) -> None:
    assert Format(think=think, boxed=boxed).well_formed(response) is expected


def test_a_format_that_demands_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="demands nothing"):
        Format(think="any", boxed=False)
