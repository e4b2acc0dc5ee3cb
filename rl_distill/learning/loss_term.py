"""What a learner minimises: algorithms on the samples of their sources, each with its weight."""

from dataclasses import dataclass

from rl_distill.algorithms.base import Algorithm

MAIN = ""  # the source of a step that has only one, and of the objective that others stand beside


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerm:
    """An algorithm on all samples of one source, normalised on that source's own totals.

    weight       multiplies the term in the step's loss
    temperature  of the sampler whose tokens it trains on; log-probs are taken at it
    """

    source: str = MAIN
    algorithm: Algorithm
    weight: float = 1.0
    temperature: float = 1.0

    @property
    def label(self) -> str:
        """Its name where several terms are told apart."""
        return self.source or "main"

    def path(self, metric: str) -> str:
        """Where a metric of this term stands among the step's."""
        return metric if self.source == MAIN else f"beside/{self.source}/{metric}"
