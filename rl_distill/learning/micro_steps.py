"""One optimizer step as a sum over micro-batches; shared by every learner."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from rl_distill.algorithms.base import Algorithm, LossOutput, Need
from rl_distill.batch import Batch, PolicyOutput, Totals, collate
from rl_distill.learning.step_plan import TermShare, parted, split
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

    Samples that cannot move the policy are run forward only, for the metrics. The term's weight multiplies the gradient, not the
    metrics. Returns sums that add up over processes: see `term_metrics`.
    """
    algorithm, counts = share.term.algorithm, share.counts.to(torch.device(device))
    if not algorithm.imitates_lessons and any(sample.lesson for sample in share.samples):
        raise ValueError(
            f"lesson: algorithm {algorithm.name!r} reads none, so such samples would not be trained on; leave them out"
        )
    columns = {column for need in algorithm.needs for column in NEEDED_COLUMNS[need]}
    sums: dict[str, torch.Tensor] = {}
    padded = 0

    def run(part: Sequence[Sample]) -> tuple[Batch, PolicyOutput, LossOutput]:
        batch = collate(part, pad_id=pad_id, sources=share.sources, dtype=counts.tokens.dtype, columns=columns)
        batch = batch.to(counts.tokens.device)
        policy = forward(batch)
        return batch, policy, algorithm.loss(policy, batch, counts)

    def count(part: Sequence[Sample], batch: Batch, policy: PolicyOutput, out: LossOutput, credit: torch.Tensor) -> None:
        nonlocal padded
        found = {"loss": out.loss.detach(), **out.metrics, **credit_metrics(algorithm, part, credit, batch, counts)}
        if policy.entropy is not None:
            found["policy/entropy"] = (policy.entropy * batch.loss_mask).sum() / counts.tokens.sum()
        for path, value in found.items():
            sums[path] = sums.get(path, 0.0) + value
        padded += batch.token_ids.numel()

    moving, still = (list(split(part, max_tokens)) for part in parted(algorithm, share.samples))
    weight: torch.Tensor | float = share.term.weight
    with torch.no_grad():  # before the others: what is not finite here must reach a backward pass, and with it every rank
        for place in range(share.still_passes):
            part = still[place] if place < len(still) else share.filler
            batch, policy, out = run(part)
            if place < len(still):
                count(part, batch, policy, out, torch.zeros_like(policy.logprobs))
                weight = weight * torch.where(out.loss.isfinite(), 1.0, math.nan)
    for place in range(share.passes):
        part = moving[place] if place < len(moving) else share.filler
        batch, policy, out = run(part)
        if place < len(moving):
            count(part, batch, policy, out, credit_of(out, policy, batch))
        backward((weight if place < len(moving) else 0.0 * weight) * out.loss)
    return {path: float(value) for path, value in sums.items()} | {
        MICRO_BATCHES: float(len(moving) + len(still)),
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
    algorithm: Algorithm, samples: Sequence[Sample], credit: torch.Tensor, batch: Batch, counts: Totals
) -> dict[str, torch.Tensor]:
    """What the loss really does to each token, whatever it says: credit = -d loss / d log-prob, > 0 where a token is imitated.

    Args:
        credit: [B, T], or [B, T, 1 + K] where a teacher is compared at other tokens too and each of them has its own.
    """
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


def credit_of(out: LossOutput, policy: PolicyOutput, batch: Batch) -> torch.Tensor:
    """-d loss / d log-prob of what was read of the student: [B, T], or [B, T, 1 + K] with a teacher's candidates."""
    loss = out.loss if out.credited is None else out.credited
    if policy.candidate_logprobs is None:
        (slope,) = torch.autograd.grad(loss, policy.logprobs, retain_graph=True)
        return -slope.masked_fill(~batch.loss_mask, 0.0)
    read = (policy.logprobs, policy.candidate_logprobs)
    own, others = torch.autograd.grad(loss, read, retain_graph=True, materialize_grads=True)
    return -torch.cat([own[..., None], others], dim=-1).masked_fill(~batch.loss_mask[..., None], 0.0)
