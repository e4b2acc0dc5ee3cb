"""How a cost grows: powers fitted to sizes and what they took."""

import math
import statistics
from collections.abc import Sequence


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the logarithms: 1 grows in proportion, 0 not at all."""
    logs = [(math.log(size), math.log(value)) for size, value in points if value > 0]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope
