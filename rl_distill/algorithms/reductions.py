"""From per-token values to the step's loss: sums over totals that were counted before the first micro-batch.

Each takes values [B, T] and a mask [B, T] and returns this micro-batch's share as a scalar, so that any split of a step into
micro-batches or ranks adds up to the same number.
"""

from collections.abc import Callable

from torch import Tensor

from rl_distill.batch import Batch, Totals

Reduction = Callable[[Tensor, Tensor, Batch, Totals], Tensor]


def row_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum over the tokens of each row: [B, T] -> [B]. Values outside the mask never enter, not even as 0 * inf."""
    return values.masked_fill(~mask, 0.0).sum(dim=1)


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens of each row: [B, T] -> [B]."""
    return row_sum(values, mask) / mask.sum(dim=1).clamp(min=1)


def token_mean(values: Tensor, mask: Tensor, batch: Batch, totals: Totals) -> Tensor:
    """All tokens of the step weigh the same (DAPO)."""
    return (row_sum(values, mask) / totals.tokens[batch.sources]).sum()


def sequence_mean(values: Tensor, mask: Tensor, batch: Batch, totals: Totals) -> Tensor:
    """All attempts of the step weigh the same, each by its token mean (GRPO)."""
    return (row_mean(values, mask) / totals.sequences[batch.sources]).sum()


def sequence_sum(values: Tensor, mask: Tensor, batch: Batch, totals: Totals) -> Tensor:
    """Mean over attempts of their token sums (REINFORCE); Dr. GRPO divides it by a constant length too."""
    return (row_sum(values, mask) / totals.sequences[batch.sources]).sum()


REDUCTIONS: dict[str, Reduction] = {
    "token_mean": token_mean,
    "sequence_mean": sequence_mean,
    "sequence_sum": sequence_sum,
}
