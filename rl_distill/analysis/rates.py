"""How often something happens: rates with intervals over problems, and differences between two models on the same ones."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rl_distill.evaluation.intervals import clustered_interval
from rl_distill.seeding import addressed_seed

DRAWS = 2000  # of the bootstrap
Column = NDArray[np.float64]


class Estimate(NamedTuple):
    """A value with its 95 % interval; None where nothing was observed, or where one problem alone says nothing about others."""

    value: float | None
    low: float | None
    high: float | None


class Event(NamedTuple):
    """One response, as far as a rate is concerned.

    amount  what is counted in it
    size    what it is counted over
    """

    problem_id: str
    amount: float
    size: float


class Resampling:
    """Bootstrap over problems: all responses of a problem come and go together. The draws are a function of seed and problems.

    Two models that answered the same problems are resampled together, so that their difference is paired.
    """

    def __init__(self, problem_ids: Sequence[str], seed: int) -> None:
        self._places = {problem_id: place for place, problem_id in enumerate(sorted(set(problem_ids)))}
        count = len(self._places)
        generator = np.random.default_rng(addressed_seed(seed, "bootstrap", count))
        self._weights = generator.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)  # [D, P]

    def ratio(self, events: Sequence[Event], factor: float = 1.0) -> Estimate:
        """Sum of amounts over sum of sizes, times `factor`."""
        amounts, sizes = self._sums(events)
        if not sizes.sum():
            return Estimate(None, None, None)
        value, drawn = amounts.sum() / sizes.sum(), self._drawn(amounts, sizes)
        return _estimate(factor * value, factor * drawn, observed=int(np.count_nonzero(sizes)))

    def share(self, events: Sequence[Event]) -> Estimate:
        """Mean over problems of a share in [0, 1]; unlike a resampled one its interval has a width where all problems agree."""
        amounts, sizes = self._sums(events)
        if not sizes.sum():
            return Estimate(None, None, None)
        return Estimate(*clustered_interval((amounts[sizes > 0] / sizes[sizes > 0]).tolist()))

    def difference(self, first: Sequence[Event], second: Sequence[Event], factor: float = 1.0) -> Estimate:
        """Ratio of the second minus ratio of the first, on the same draws of problems."""
        (ours, our_sizes), (theirs, their_sizes) = self._sums(first), self._sums(second)
        if not our_sizes.sum() or not their_sizes.sum():
            return Estimate(None, None, None)
        value = theirs.sum() / their_sizes.sum() - ours.sum() / our_sizes.sum()
        drawn = self._drawn(theirs, their_sizes) - self._drawn(ours, our_sizes)
        observed = int(min(np.count_nonzero(our_sizes), np.count_nonzero(their_sizes)))
        return _estimate(factor * value, factor * drawn, observed=observed)

    def _sums(self, events: Sequence[Event]) -> tuple[Column, Column]:
        """Amounts [P] and sizes [P] of each problem."""
        amounts, sizes = np.zeros(len(self._places)), np.zeros(len(self._places))
        for event in events:
            place = self._places[event.problem_id]
            amounts[place] += event.amount
            sizes[place] += event.size
        return amounts, sizes

    def _drawn(self, amounts: Column, sizes: Column) -> Column:
        """The ratio of each draw [D]; nan where a draw holds nothing."""
        total = self._weights @ sizes
        return np.divide(self._weights @ amounts, total, out=np.full(len(total), np.nan), where=total > 0)


def _estimate(value: float, drawn: Column, *, observed: int) -> Estimate:
    """`observed` counts the problems that the value rests on."""
    if observed < 2:
        return Estimate(float(value), None, None)
    low, high = np.quantile(drawn[np.isfinite(drawn)], [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))


def separated(estimate: Estimate) -> bool:
    """Whether the interval of a difference leaves out 0."""
    return estimate.low is not None and estimate.high is not None and not estimate.low <= 0 <= estimate.high


def shown(estimate: Mapping[str, float | None], digits: int = 2) -> str:
    """A value with its interval, as far as there are any."""
    if estimate["value"] is None:
        return "-"
    value = f"{estimate['value']:.{digits}f}"
    return value if estimate["low"] is None else f"{value} [{estimate['low']:.{digits}f}, {estimate['high']:.{digits}f}]"
