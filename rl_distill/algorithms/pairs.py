"""What the methods that learn from a right and a wrong attempt at one problem have in common."""

from dataclasses import dataclass

from torch import Tensor

from rl_distill.algorithms.reductions import row_mean
from rl_distill.algorithms.selection import contrast
from rl_distill.batch import Batch, Totals
from rl_distill.trajectory import Group, Sample


def contrast_samples(group: Group) -> list[Sample]:
    """The first correct attempt to imitate and the first wrong one to avoid, as one unit; [] without both."""
    pair = contrast(group)
    if pair is None:
        return []
    chosen, rejected = pair
    unit = group.problem.id
    return [Sample(trajectory=chosen, label=1, unit=unit), Sample(trajectory=rejected, label=-1, unit=unit)]


@dataclass(frozen=True, slots=True)
class PairValues:
    """One value for the chosen and one for the rejected row of each pair, [U] each, with the pair's share of the step's mean."""

    chosen: Tensor
    rejected: Tensor
    share: Tensor

    @property
    def margin(self) -> Tensor:
        return self.chosen - self.rejected


def by_pair(values: Tensor, batch: Batch, totals: Totals) -> PairValues:
    """Sort per-row values [B] by pair [U]. Rows of a unit always sit in one batch, so nothing is missing."""
    zeros = values.new_zeros(int(batch.units.max()) + 1)
    shares = batch.labels.clamp(min=0) / totals.units[batch.sources]
    return PairValues(
        chosen=zeros.index_add(0, batch.units, values * (batch.labels > 0)),
        rejected=zeros.index_add(0, batch.units, values * (batch.labels < 0)),
        share=zeros.index_add(0, batch.units, shares.to(values.dtype)),
    )


def pair_metrics(logprobs: Tensor, batch: Batch, totals: Totals) -> dict[str, Tensor]:
    """Mean log-prob per token of chosen and rejected attempts, each attempt by its own mean, and their difference."""
    means = by_pair(row_mean(logprobs.detach(), batch.loss_mask), batch, totals)
    return {
        "logprob/chosen": (means.chosen * means.share).sum(),
        "logprob/rejected": (means.rejected * means.share).sum(),
        "logprob/margin": (means.margin * means.share).sum(),
        "preference/accuracy": ((means.margin > 0) * means.share).sum(),
    }
