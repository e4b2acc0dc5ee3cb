"""What a mean over a few seeds is worth, and several such comparisons together."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from rl_distill.evaluation.intervals import Interval
from rl_distill.evaluation.student_t import p_of_t, t_quantile

ROUNDING = 1e-12  # of accuracies, which are at most 1, and of their differences


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanOverSeeds:
    """
    interval  of the mean; None of one value, or of values without any spread, which say nothing about it
    p_value   two-sided, that the mean is 0; None where there is no interval
    count     of the values
    """

    mean: float
    interval: Interval | None
    p_value: float | None
    count: int

    @property
    def no_spread(self) -> bool:
        """Several values, all the same: their error is estimated as 0, and t is infinite or 0 / 0, which tests nothing."""
        return self.count > 1 and self.interval is None


def mean_over_seeds(values: Sequence[float]) -> MeanOverSeeds:
    """With its 95 % interval, and the t test against 0: values that differ between seeds as a normal variable does.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("values: empty; there has to be a seed")
    mean, degrees = fmean(values), len(values) - 1
    error = stdev(values) / sqrt(len(values)) if degrees else 0.0
    if error <= ROUNDING * max(1.0, abs(mean)):
        return MeanOverSeeds(mean=mean, interval=None, p_value=None, count=len(values))
    half = t_quantile(0.975, degrees) * error
    interval = Interval(mean, mean - half, mean + half)
    return MeanOverSeeds(mean=mean, interval=interval, p_value=p_of_t(mean / error, degrees), count=len(values))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for so many comparisons (Holm, Scand. J. Statist. 6, 1979): below .05 all together err in 5 % at most."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
