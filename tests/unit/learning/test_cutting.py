"""Micro-batches: within the budget, and no cuts of the sorted rows cost less."""

import random
from itertools import combinations

import pytest

from rl_distill.learning.cutting import PASSES_IN_A_BUDGET, cut


def cost(parts: list[slice], widths: list[int], rows: list[int], max_tokens: int) -> float:
    return sum(widths[part.start] * sum(rows[part]) + max_tokens / PASSES_IN_A_BUDGET for part in parts)


def every_way(count: int) -> list[list[slice]]:
    """All ways to cut so many units."""
    ways = [places for size in range(count) for places in combinations(range(1, count), size)]
    return [[slice(*ends) for ends in zip((0, *places), (*places, count), strict=True)] for places in ways]


@pytest.mark.parametrize("seed", range(20))
def test_no_other_cuts_within_the_budget_cost_less(seed: int) -> None:
    chance = random.Random(seed)
    count, max_tokens = chance.randint(1, 9), chance.choice((10, 40, 200, 2000))
    widths = sorted((chance.randint(1, 60) for _ in range(count)), reverse=True)
    rows = [chance.randint(1, 3) for _ in range(count)]
    allowed = [
        parts
        for parts in every_way(count)
        if all(part.stop - part.start == 1 or widths[part.start] * sum(rows[part]) <= max_tokens for part in parts)
    ]
    found = cut(widths, rows, max_tokens)
    assert found in allowed
    assert cost(found, widths, rows, max_tokens) == min(cost(parts, widths, rows, max_tokens) for parts in allowed)


def test_skewed_lengths_are_hardly_padded() -> None:
    """As a trained student's answers are: a median of 60, a tail to 512."""
    chance = random.Random(0)
    widths = sorted((min(512, max(4, round(chance.lognormvariate(4.1, 1.0)))) for _ in range(256)), reverse=True)
    parts = cut(widths, [1] * len(widths), 4096)
    padded = sum(widths[part.start] * (part.stop - part.start) for part in parts)
    assert 1 - sum(widths) / padded < 0.07, "filling the budget pads 0.18"


def test_nothing_makes_no_micro_batch() -> None:
    assert cut([], [], 100) == []
