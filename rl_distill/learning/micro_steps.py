"""One optimizer step as a sum over micro-batches; shared by every learner."""

from collections.abc import Callable, Iterator, Sequence

import torch

from rl_distill.algorithms.base import Algorithm, LossOutput, Need
from rl_distill.batch import Batch, PolicyOutput, Totals, collate
from rl_distill.trajectory import Sample

Forward = Callable[[Batch], PolicyOutput]

NEEDED_COLUMNS = {
    Need.BEHAVIOR_LOGPROBS: "behavior_logprobs",
    Need.PROXIMAL_LOGPROBS: "proximal_logprobs",
    Need.REFERENCE_LOGPROBS: "reference_logprobs",
    Need.REFERENCE_CREDIT: "reference_logprobs",
}


def split(samples: Sequence[Sample], max_tokens: int) -> Iterator[list[Sample]]:
    """Cut a step into micro-batches of at most `max_tokens` padded tokens, keeping the rows of a unit together.

    Units are taken longest first, so that rows of like length meet and a step that does not fit in memory fails at once. A unit
    larger than the budget makes a micro-batch of its own. The order is a function of the samples alone.
    """
    units: dict[object, list[Sample]] = {}
    for index, sample in enumerate(samples):
        units.setdefault(sample.unit or index, []).append(sample)
    current: list[Sample] = []
    width = 0
    for unit in sorted(units.values(), key=_width, reverse=True):
        if current and max(width, _width(unit)) * (len(current) + len(unit)) > max_tokens:
            yield current
            current, width = [], 0
        current += unit
        width = max(width, _width(unit))
    if current:
        yield current


def accumulate(
    algorithm: Algorithm,
    samples: Sequence[Sample],
    forward: Forward,
    *,
    sources: Sequence[str],
    counts: Totals,
    pad_id: int,
    max_tokens: int,
    weight: float = 1.0,
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
) -> dict[str, float]:
    """Run forward and backward over this process's share of a step; gradients add up in the parameters. Returns its metrics.

    Args:
        sources, counts: of the whole step over all processes, on the device and in the dtype of the computation.
        weight: multiplies the gradient, not the metrics.
    """
    if any(sample.lesson for sample in samples):
        raise ValueError(
            f"lesson: algorithm {algorithm.name!r} reads none, so such samples would not be trained on; leave them out"
        )
    columns = {NEEDED_COLUMNS[need] for need in algorithm.needs}
    sums: dict[str, torch.Tensor] = {}
    padded = 0
    micro_batches = list(split(samples, max_tokens))
    for part in micro_batches:
        batch = collate(part, pad_id=pad_id, sources=sources, dtype=counts.tokens.dtype, columns=columns).to(counts.tokens.device)
        policy = forward(batch)
        out = algorithm.loss(policy, batch, counts)
        shares = {"loss": out.loss.detach(), **out.metrics, **credit_metrics(algorithm, part, policy, out, batch, counts)}
        if policy.entropy is not None:
            shares["policy/entropy"] = (policy.entropy * batch.loss_mask).sum() / counts.tokens.sum()
        backward(weight * out.loss)
        for path, value in shares.items():
            sums[path] = sums.get(path, 0.0) + value
        padded += batch.token_ids.numel()
    real = sum(len(sample.trajectory.token_ids) for sample in samples)
    return algorithm.summarize({path: float(value) for path, value in sums.items()}) | {
        "batch/tokens": float(counts.tokens.sum()),
        "batch/sequences": float(counts.sequences.sum()),
        "batch/units": float(counts.units.sum()),
        "learner/micro_batches": float(len(micro_batches)),
        "learner/padding_fraction": 1.0 - real / padded,
    }


def credit_metrics(
    algorithm: Algorithm, samples: Sequence[Sample], policy: PolicyOutput, out: LossOutput, batch: Batch, counts: Totals
) -> dict[str, torch.Tensor]:
    """What the loss really does to each token, whatever it says: credit = -d loss / d log-prob, > 0 where a token is imitated."""
    credited = out.loss if out.credited is None else out.credited
    (slope,) = torch.autograd.grad(credited, policy.logprobs, retain_graph=True)
    credit = -slope.masked_fill(~batch.loss_mask, 0.0)  # [B, T]
    metrics = {
        "credit/weighted_fraction": (credit != 0).sum() / counts.tokens.sum(),
        "credit/positive": credit.clamp(min=0).sum(),
        "credit/negative": -credit.clamp(max=0).sum(),
    }
    if algorithm.avoids_wrong:
        wrong = [sample.label < 0 or sample.trajectory.status == "wrong" for sample in samples]
        negatives = torch.tensor(wrong, device=credit.device)
        metrics["credit/negatives"] = negatives.sum()
        metrics["credit/weightless_negatives"] = (negatives & (credit >= 0).all(dim=1)).sum()
    return metrics


def _width(samples: Sequence[Sample]) -> int:
    return max(len(sample.trajectory.token_ids) for sample in samples)
