"""What losses against a teacher's next-token distribution share: which divergence, over which tokens, and its metrics."""

from typing import Literal

import torch
from torch import Tensor

from rl_distill.algorithms.divergences import generalized_jsd
from rl_distill.algorithms.reductions import token_mean
from rl_distill.algorithms.selection import trained
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.trajectory import Group, Trajectory

Support = Literal["top_k", "drawn"]


def divergence(policy: PolicyOutput, batch: Batch, *, beta: float, support: Support) -> Tensor:
    """Divergence of teacher and student at each token, [B, T]; 0 where nothing was sampled.

    top_k  `generalized_jsd` over the teacher's most likely tokens and a bucket for all others, on both sides: a lower bound of
           the divergence over the vocabulary, and equal to it where the candidates are the vocabulary
    drawn  mean over draws from the teacher of log teacher - log student: an unbiased estimate of KL(teacher || student) with an
           unbiased gradient (arXiv:2503.16870)
    """
    if batch.teacher_candidate_logprobs is None or policy.candidate_logprobs is None:
        raise ValueError("teacher_candidate_logprobs: the batch has none; score the samples with the teacher first")
    outside = ~batch.loss_mask[..., None]
    teacher = batch.teacher_candidate_logprobs.masked_fill(outside, 0.0)
    student = policy.candidate_logprobs.masked_fill(outside, 0.0)
    found = (teacher - student).mean(dim=-1) if support == "drawn" else generalized_jsd(teacher, student, beta)
    return found.masked_fill(~batch.loss_mask, 0.0)


def soft_metrics(values: Tensor, batch: Batch, totals: Totals, support: Support) -> dict[str, Tensor]:
    """Metrics of `divergence`: its mean, and how much of the teacher its most likely tokens hold."""
    metrics = {"distillation/divergence": token_mean(values.detach(), batch.loss_mask, batch, totals)}
    if support == "top_k" and batch.teacher_candidate_logprobs is not None and batch.candidate_ids is not None:
        with torch.no_grad():
            mass = batch.teacher_candidate_logprobs[..., : batch.candidate_ids.shape[-1]].exp().sum(dim=-1)
            metrics["distillation/candidate_mass"] = token_mean(mass, batch.loss_mask, batch, totals)
    return metrics


def attempts(group: Group) -> list[Trajectory]:
    """Every attempt in which something was sampled: a teacher has an opinion on right and wrong ones alike."""
    return [trajectory for trajectory in trained(group) if trajectory.num_sampled]


def check_support(support: Support, beta: float) -> None:
    """
    Raises:
        ValueError: draws estimate nothing but the forward KL.
    """
    if support == "drawn" and beta:
        raise ValueError(f"beta {beta:g} needs support top_k: tokens drawn from the teacher estimate forward KL, beta 0, alone")
