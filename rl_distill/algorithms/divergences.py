"""Distances between a teacher's and a student's next-token distributions, and credit from their log-probs at sampled tokens.

Log-probs are [..., V] over the vocabulary, or [..., K] on the teacher's top K; results drop the last dimension.
"""

import torch
from torch import Tensor


def forward_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher || student): covers all of the teacher's modes."""
    return (teacher.exp() * (teacher - student)).sum(dim=-1)


def generalized_jsd(teacher: Tensor, student: Tensor, beta: float) -> Tensor:
    """beta KL(T || M) + (1 - beta) KL(S || M) with M = beta T + (1 - beta) S (GKD, arXiv:2306.13649).

    The formula vanishes at its ends; there it is defined as forward KL (beta 0) and reverse KL (beta 1).
    """
    if beta == 0:
        return forward_kl(teacher, student)
    if beta == 1:
        return forward_kl(student, teacher)
    mixture = torch.logsumexp(torch.stack([teacher + _log(beta, teacher), student + _log(1 - beta, student)]), dim=0)
    return beta * forward_kl(teacher, mixture) + (1 - beta) * forward_kl(student, mixture)


def hinton(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher_T || student_T): T^2 keeps the soft gradient's size whatever the temperature (arXiv:1503.02531)."""
    soft = ((logits / temperature).log_softmax(dim=-1) for logits in (teacher_logits, student_logits))
    return temperature**2 * forward_kl(*soft)


def top_k_truncated(teacher: Tensor, student: Tensor) -> Tensor:
    """The sum over the teacher's top K as it stands: no divergence, it can be negative and its minimum is not the teacher."""
    return forward_kl(teacher, student)


def top_k_renormalized(teacher: Tensor, student: Tensor) -> Tensor:
    """Both renormalised on the top K: blind to what the student puts elsewhere, and 0 for K = 1."""
    return forward_kl(teacher.log_softmax(dim=-1), student.log_softmax(dim=-1))


def top_k_teacher_renormalized(teacher: Tensor, student: Tensor) -> Tensor:
    """Only the teacher renormalised: pulls the student's mass into the top K, more than the teacher has there."""
    return forward_kl(teacher.log_softmax(dim=-1), student)


def top_k_with_tail(teacher: Tensor, student: Tensor) -> Tensor:
    """The top K and one bucket for all the rest: a lower bound of the KL that is 0 only if the buckets agree."""
    return forward_kl(_with_tail(teacher), _with_tail(student))


def teacher_credit(teacher: Tensor, sampler: Tensor, mask: Tensor, *, coef: float = 1.0, discount: float = 0.0) -> Tensor:
    """Per-token credit of on-policy distillation: coef (log teacher - log sampler) at the sampled tokens, [B, T] -> [B, T].

    With a discount, a token is credited with what follows it too.
    """
    gains = coef * (teacher - sampler).masked_fill(~mask, 0.0)
    if not discount:
        return gains
    credit = torch.zeros_like(gains)
    following = gains.new_zeros(gains.shape[0])
    for position in reversed(range(gains.shape[1])):
        following = gains[:, position] + discount * following
        credit[:, position] = following
    return credit


def _with_tail(logprobs: Tensor) -> Tensor:
    rest = (1 - logprobs.exp().sum(dim=-1, keepdim=True)).clamp(min=torch.finfo(logprobs.dtype).tiny)
    return torch.cat([logprobs, rest.log()], dim=-1)


def _log(value: float, like: Tensor) -> Tensor:
    return torch.tensor(value, dtype=like.dtype, device=like.device).log()
