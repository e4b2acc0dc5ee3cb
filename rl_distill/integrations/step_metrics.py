"""An algorithm's metrics between two lines of a log: summed over an optimizer step, averaged over steps."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

Metrics = dict[str, float]


class StepMetrics:
    """
    Args:
        finished: makes the metrics of a step from this process's sums over its micro-batches; called once for each step.
    """

    def __init__(self, finished: Callable[[Metrics], Metrics]) -> None:
        self.finished = finished
        self._sums: dict[str, Tensor | float] = {}
        self._steps: list[Metrics] = []

    def add(self, shares: Mapping[str, Tensor | float]) -> None:
        """A micro-batch's share of the step's metrics."""
        for path, value in shares.items():
            self._sums[path] = self._sums.get(path, 0.0) + value

    def close_step(self) -> None:
        """The micro-batches since the last call were one optimizer step."""
        if self._sums:
            self._steps.append(self.finished({path: float(value) for path, value in self._sums.items()}))
            self._sums = {}

    def drained(self) -> Metrics:
        """Mean of each metric over the steps since the last call that have it."""
        self.close_step()
        steps, self._steps = self._steps, []
        values: dict[str, list[float]] = {}
        for metrics in steps:
            for path, value in metrics.items():
                values.setdefault(path, []).append(value)
        return {path: sum(found) / len(found) for path, found in values.items()}


def summed(shares: Sequence[Mapping[str, float]]) -> Metrics:
    """The sum of each metric over those that have it."""
    total: Metrics = {}
    for share in shares:
        for path, value in share.items():
            total[path] = total.get(path, 0.0) + value
    return total
