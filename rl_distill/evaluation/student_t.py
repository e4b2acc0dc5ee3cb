"""Student's t: how much wider an interval has to be where few problems, or seeds, estimate their own spread."""

from functools import lru_cache
from math import atan, cos, inf, pi, sin, sqrt, tan

_HALVINGS = 60


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees: int) -> float:
    """What Student's t with so many degrees of freedom stays below with this probability; infinite with none.

    Args:
        probability: above 1/2.

    Example:
        >>> round(t_quantile(0.975, 9), 3), round(t_quantile(0.975, 299), 3)
        (2.262, 1.968)
    """
    if degrees < 1:
        return inf
    low, high = 0.0, pi / 2  # of the angle whose tangent is t / sqrt(degrees)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < 2 * probability - 1 else (low, middle)
    return sqrt(degrees) * tan(low)


def p_of_t(t: float, degrees: int) -> float:
    """Two-sided: how often |t| is this large or larger; 1 without degrees of freedom."""
    return max(0.0, 1 - _within(atan(abs(t) / sqrt(degrees)), degrees)) if degrees > 0 else 1.0


def _within(angle: float, degrees: int) -> float:
    """P(|t| < sqrt(degrees) tan(angle)): the finite sums of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4."""
    odd = degrees % 2
    term, total, shrink = (cos(angle) if odd else 1.0), 0.0, cos(angle) ** 2
    for step in range(1 + odd, degrees, 2):
        total += term
        term *= shrink * step / (step + 1)
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
