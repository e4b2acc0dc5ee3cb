"""Per-token policy losses and the pieces they are made of. All tensors are [B, T] unless a comment says otherwise.

`log_ratio` is log pi_new - log pi_old; what pi_old is (the sampler or the learner's own earlier weights) the caller decides.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rl_distill.algorithms.reductions import row_mean, row_sum


def token_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """Each token by itself."""
    return log_ratio


def sequence_mean_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """The length-normalised sequence ratio at every token (GSPO, arXiv:2507.18071)."""
    return row_mean(log_ratio, mask)[:, None].expand_as(log_ratio)


def sequence_sum_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """The whole sequence's ratio at every token (RLOO with PPO's clip)."""
    return row_sum(log_ratio, mask)[:, None].expand_as(log_ratio)


LOG_RATIOS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "token": token_ratio,
    "sequence_mean": sequence_mean_ratio,
    "sequence_sum": sequence_sum_ratio,
}


def clipped(
    log_ratio: Tensor, advantage: Tensor, *, low: float, high: float, dual: float | None = None, ratio_cap: float | None = None
) -> Tensor:
    """PPO: -min(r A, clip(r, 1 - low, 1 + high) A).

    dual       for A < 0 the loss is at most -dual * A (arXiv:1912.09729)
    ratio_cap  r is capped before anything else (two-sided clip, arXiv:2505.07291)
    """
    ratio = log_ratio.exp()
    free = ratio if ratio_cap is None else ratio.clamp(max=ratio_cap)
    gain = torch.minimum(free * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
    if dual is not None:
        gain = torch.where(advantage < 0, torch.maximum(gain, dual * advantage), gain)
    return -gain


def cispo(log_ratio: Tensor, advantage: Tensor, logprobs: Tensor, *, low: float, high: float) -> Tensor:
    """-sg(clip(r)) A log pi_new: the weight is capped, every token keeps its gradient (arXiv:2506.13585)."""
    return -log_ratio.detach().exp().clamp(1 - low, 1 + high) * advantage * logprobs


def gmpo(log_ratio: Tensor, advantage: Tensor, mask: Tensor, *, log_clip: float) -> Tensor:
    """-A exp(mean_t clipped log r): the geometric mean of ratios clipped on their pessimistic side (arXiv:2507.20673)."""
    pessimistic = torch.where(advantage > 0, log_ratio.clamp(max=log_clip), log_ratio.clamp(min=-log_clip))
    return -advantage * sequence_mean_ratio(pessimistic, mask).exp()


def sapo(log_ratio: Tensor, advantage: Tensor, *, tau_positive: float, tau_negative: float) -> Tensor:
    """-A (4 / tau) sigmoid(tau (r - 1)): a soft gate in place of the clip (arXiv:2511.20347)."""
    tau = torch.full_like(advantage, tau_negative).masked_fill(advantage > 0, tau_positive)
    return -advantage * (4 / tau) * torch.sigmoid(tau * (log_ratio.exp() - 1))


def reinforce(advantage: Tensor, logprobs: Tensor) -> Tensor:
    """-A log pi_new."""
    return -advantage * logprobs


def kl_estimate(name: str, logprobs: Tensor, reference_logprobs: Tensor, log_ratio: Tensor) -> Tensor:
    """Per-token estimate of KL(new || reference) from samples.

    k1          log new - log ref; as a loss its expected gradient is zero, so it belongs into the reward
    k2          (log new - log ref)^2 / 2; its gradient is that of KL(new || ref)
    k3          exp(d) - d - 1 with d = log ref - log new, never negative; its gradient is that of KL(ref || new)
    k3_ratio    r k3: k3 with the ratio to the sampler, whose gradient is KL(new || ref) off-policy too (arXiv:2512.02556)
    """
    difference = reference_logprobs - logprobs
    if name == "k1":
        return -difference
    if name == "k2":
        return difference.square() / 2
    k3 = difference.exp() - difference - 1
    return log_ratio.exp() * k3 if name == "k3_ratio" else k3


def correction_weight(name: str, log_mismatch: Tensor, mask: Tensor, *, cap: float, floor: float) -> Tensor:
    """Weight for what the sampler and the learner disagree on; `log_mismatch` is log pi_proximal - log pi_behavior, detached.

    token_tis      min(rho, cap)
    sequence_tis   min(prod_t rho, cap), the same for every token of a row
    token_mask     rho inside [floor, cap], else 0; the denominator keeps the dropped tokens
    decoupled      rho, uncapped: decoupled PPO, whose clip is around the proximal policy (arXiv:2110.00641, 2505.24298)
    """
    if name == "sequence_tis":
        return sequence_sum_ratio(log_mismatch, mask).exp().clamp(max=cap)
    rho = log_mismatch.exp()
    if name == "token_tis":
        return rho.clamp(max=cap)
    if name == "token_mask":
        return rho * ((rho >= floor) & (rho <= cap))
    return rho
