"""Where a step is cut into micro-batches, so that little of their passes is padding."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

PASSES_IN_A_BUDGET = 64  # one more pass is worth this part of the budget in padding: its time beside its tokens


def cut(widths: Sequence[int], rows: Sequence[int], max_tokens: int) -> list[slice]:
    """Neighbours together at the least cost: padded tokens, and a fixed amount for each pass.

    Taking rows until the budget is full pads 20 to 50 % where lengths are skewed, as those of answers are: all rows of a pass are
    as long as its longest. The best cuts of sorted rows are found exactly: best[end] is the least over the last pass's begin.

    Args:
        widths: tokens of each unit's longest row, falling.
        rows: of each unit.
        max_tokens: padded tokens of a pass; a unit that is larger makes a pass of its own.
    """
    width = np.asarray(widths, dtype=np.int64)
    before = np.fromiter(accumulate(rows, initial=0), dtype=np.int64, count=len(rows) + 1)
    best = np.zeros(len(rows) + 1)
    begins = [0] * (len(rows) + 1)
    low = 0  # no pass that ends at `end` or later begins before it
    for end in range(1, len(rows) + 1):
        low = max(low, begins[end - 1])  # the best begin never falls: widths do, so rows more cost a later begin less
        while low < end - 1 and width[low] * (before[end] - before[low]) > max_tokens:
            low += 1
        costs = best[low:end] + width[low:end] * (before[end] - before[low:end])
        begins[end] = low + int(costs.argmin())
        best[end] = costs.min() + max_tokens / PASSES_IN_A_BUDGET
    cuts, end = [], len(rows)
    while end:
        cuts.append(slice(begins[end], end))
        end = begins[end]
    return cuts[::-1]
