"""Weights on their way from a learner to engines."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightUpdate:
    """Named weights with a version. Valid until the learner's next step: a receiver copies."""

    version: int
    tensors: Mapping[str, Tensor]
    digest: str  # of what the learner holds; a receiver recomputes it from what it loaded
