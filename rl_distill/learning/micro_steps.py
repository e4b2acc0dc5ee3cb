"""One optimizer step as a sum over micro-batches; shared by every learner."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from rl_distill.algorithms.base import Algorithm, LossOutput, Need
from rl_distill.batch import Batch, PolicyOutput, Totals, collate
from rl_distill.learning.step_plan import TermShare, split
from rl_distill.trajectory import Sample

Forward = Callable[[Batch], PolicyOutput]
MICRO_BATCHES, REAL_TOKENS, PADDED_TOKENS = "learner/micro_batches", "real_tokens", "padded_tokens"

NEEDED_COLUMNS: dict[Need, tuple[str, ...]] = {
    Need.ROLLOUTS: (),
    Need.BEHAVIOR_LOGPROBS: ("behavior_logprobs",),
    Need.PROXIMAL_LOGPROBS: ("proximal_logprobs",),
    Need.REFERENCE_LOGPROBS: ("reference_logprobs",),
    Need.REFERENCE_CREDIT: ("reference_logprobs",),
    Need.TEACHER_LOGPROBS: ("teacher_logprobs",),
    Need.TEACHER_CANDIDATES: ("candidate_ids", "teacher_candidate_logprobs"),
}


def accumulate(
    share: TermShare,
    forward: Forward,
    *,
    pad_id: int,
    max_tokens: int,
    device: torch.device | str = "cpu",
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
) -> dict[str, float]:
    """Run forward and backward over this process's share of a term; gradients add up in the parameters.

    The term's weight multiplies the gradient, not the metrics. Returns sums that add up over processes: see `term_metrics`.
    """
    algorithm, counts = share.term.algorithm, share.counts.to(torch.device(device))
    if not algorithm.imitates_lessons and any(sample.lesson for sample in share.samples):
        raise ValueError(
            f"lesson: algorithm {algorithm.name!r} reads none, so such samples would not be trained on; leave them out"
        )
    columns = {column for need in algorithm.needs for column in NEEDED_COLUMNS[need]}
    sums: dict[str, torch.Tensor] = {}
    padded = 0
    micro_batches = list(split(share.samples, max_tokens))
    for place in range(share.passes):
        part = micro_batches[place] if place < len(micro_batches) else share.filler
        batch = collate(part, pad_id=pad_id, sources=share.sources, dtype=counts.tokens.dtype, columns=columns)
        batch = batch.to(counts.tokens.device)
        policy = forward(batch)
        out = algorithm.loss(policy, batch, counts)
        if place >= len(micro_batches):
            backward(0.0 * out.loss)
            continue
        shares = {"loss": out.loss.detach(), **out.metrics, **credit_metrics(algorithm, part, policy, out, batch, counts)}
        if policy.entropy is not None:
            shares["policy/entropy"] = (policy.entropy * batch.loss_mask).sum() / counts.tokens.sum()
        backward(share.term.weight * out.loss)
        for path, value in shares.items():
            sums[path] = sums.get(path, 0.0) + value
        padded += batch.token_ids.numel()
    return {path: float(value) for path, value in sums.items()} | {
        MICRO_BATCHES: float(len(micro_batches)),
        REAL_TOKENS: float(sum(len(sample.trajectory.token_ids) for sample in share.samples)),
        PADDED_TOKENS: float(padded),
    }


def term_metrics(share: TermShare, sums: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """A term's metrics from the sums of all processes; `share` is any of theirs."""
    names = dict.fromkeys(name for one in sums for name in one)
    found = {name: math.fsum(one.get(name, 0.0) for one in sums) for name in names}
    real, padded = found.pop(REAL_TOKENS), found.pop(PADDED_TOKENS)
    counts = share.counts
    return share.term.algorithm.summarize(found) | {
        "batch/tokens": float(counts.tokens.sum()),
        "batch/sequences": float(counts.sequences.sum()),
        "batch/units": float(counts.units.sum()),
        "learner/padding_fraction": 1.0 - real / padded,
    }


def credit_metrics(
    algorithm: Algorithm, samples: Sequence[Sample], policy: PolicyOutput, out: LossOutput, batch: Batch, counts: Totals
) -> dict[str, torch.Tensor]:
    """What the loss really does to each token, whatever it says: credit = -d loss / d log-prob, > 0 where a token is imitated.

    Where a teacher is compared at other tokens too, each of them has its own.
    """
    credit = _credit(out.loss if out.credited is None else out.credited, policy, batch)  # [B, T], or [B, T, 1 + K]
    metrics = {
        "credit/weighted_fraction": (credit != 0).reshape(*batch.loss_mask.shape, -1).any(dim=-1).sum() / counts.tokens.sum(),
        "credit/positive": credit.clamp(min=0).sum(),
        "credit/negative": -credit.clamp(max=0).sum(),
    }
    if algorithm.avoids_wrong:
        wrong = [sample.label < 0 or sample.trajectory.status == "wrong" for sample in samples]
        negatives = torch.tensor(wrong, device=credit.device)
        metrics["credit/negatives"] = negatives.sum()
        metrics["credit/weightless_negatives"] = (negatives & (credit >= 0).flatten(1).all(dim=1)).sum()
    return metrics


def _credit(loss: torch.Tensor, policy: PolicyOutput, batch: Batch) -> torch.Tensor:
    if policy.candidate_logprobs is None:
        (slope,) = torch.autograd.grad(loss, policy.logprobs, retain_graph=True)
        return -slope.masked_fill(~batch.loss_mask, 0.0)
    read = (policy.logprobs, policy.candidate_logprobs)
    own, others = torch.autograd.grad(loss, read, retain_graph=True, materialize_grads=True)
    return -torch.cat([own[..., None], others], dim=-1).masked_fill(~batch.loss_mask[..., None], 0.0)
