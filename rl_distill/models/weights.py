"""Weights on their way from a learner to engines."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rl_distill.models.digest import named_weights, weight_digests
from rl_distill.models.lora import Lora


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightUpdate:
    """Named weights with a version. Valid until the learner's next step: a receiver copies.

    version  optimizer state they belong to; never falls within a stage
    tensors  by name, in the dtype that engines compute in; those that travel through a store are fetched when they are read
    digests  of each weight as the learner holds it; a receiver computes them again from what it has loaded
    lora     of the adapters that travel alone, for a receiver that holds the other weights: their digests are there too; None
             where all weights of a plain model travel
    """

    version: int
    tensors: Mapping[str, Tensor]
    digests: Mapping[str, str]
    num_bytes: int
    lora: Lora | None = None


def whole_update(model: Any, dtype: torch.dtype, version: int = 0) -> WeightUpdate:
    """All weights of a plain model that no learner holds.

    Args:
        dtype: that engines compute in; the model is cast to it in place.
    """
    tensors = named_weights(model.to(dtype))
    num_bytes = sum(tensor.nbytes for tensor in tensors.values())
    return WeightUpdate(version=version, tensors=tensors, digests=weight_digests(tensors), num_bytes=num_bytes)
