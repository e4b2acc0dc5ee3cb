"""The learning rate as a pure function of the optimizer step."""

import math
from typing import Literal

ScheduleName = Literal["constant", "linear", "cosine"]


def rate_fraction(step: int, *, schedule: ScheduleName, warmup_steps: int, total_steps: int | None, floor: float = 0.0) -> float:
    """Fraction of the peak rate at optimizer step `step` (0-based); warm-up counts from 1 so that the first step moves.

    Raises:
        ValueError: a decaying schedule without `total_steps`.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if schedule == "constant":
        return 1.0
    if total_steps is None:
        raise ValueError(f"schedule: {schedule!r} needs to know the number of steps; give steps or epochs, or use 'constant'")
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    shape = 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return floor + (1.0 - floor) * shape
