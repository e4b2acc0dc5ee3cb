"""Credit from rewards, before any tensor exists. Named choices of `Grpo.advantage` and `Grpo.whitening`."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Literal

StdKind = Literal["population", "sample"]


def raw(rewards: Sequence[float]) -> list[float]:
    """The reward itself: no baseline."""
    return list(rewards)


def group_center(rewards: Sequence[float]) -> list[float]:
    """R_i - mean R (Dr. GRPO, arXiv:2503.20783); exactly 0 for all when they are equal."""
    if max(rewards) == min(rewards):
        return [0.0] * len(rewards)
    mean = fmean(rewards)
    return [reward - mean for reward in rewards]


def leave_one_out(rewards: Sequence[float]) -> list[float]:
    """R_i - mean of the other rewards (RLOO, arXiv:2402.14740); exactly 0 for all when they are equal. Needs two or more."""
    if len(rewards) < 2:
        raise ValueError(f"leave_one_out: a group of {len(rewards)} has no other rewards; sample two or more attempts")
    if max(rewards) == min(rewards):
        return [0.0] * len(rewards)
    total, others = sum(rewards), len(rewards) - 1
    return [reward - (total - reward) / others for reward in rewards]


def standardized(rewards: Sequence[float], std: StdKind, eps: float) -> list[float]:
    """(R_i - mean R) / (std R + eps) (GRPO, arXiv:2402.03300); 0 for all when they are equal."""
    centered = group_center(rewards)
    divisor = len(rewards) - (std == "sample")
    deviation = (sum(value * value for value in centered) / max(1, divisor)) ** 0.5
    if not any(centered):
        return centered
    return [value / (deviation + eps) for value in centered]


def whitened_by_token(advantages: Sequence[float], lengths: Sequence[int]) -> list[float]:
    """Zero mean and unit variance over all tokens of the step (REINFORCE++, arXiv:2501.03262)."""
    tokens = sum(lengths)
    mean = sum(value * length for value, length in zip(advantages, lengths, strict=True)) / tokens
    squares = sum((value - mean) ** 2 * length for value, length in zip(advantages, lengths, strict=True))
    scale = (squares / max(1, tokens - 1) + 1e-8) ** -0.5
    return [(value - mean) * scale for value in advantages]


BASELINES: dict[str, Callable[[Sequence[float]], list[float]]] = {
    "raw": raw,
    "group_center": group_center,
    "leave_one_out": leave_one_out,
}
