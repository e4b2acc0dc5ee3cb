"""Which weights of its model a learner sends to engines: all of a plain one, the adapters of one that has them."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rl_distill.models.digest import tensor_digest
from rl_distill.models.lora import PlainWeight, adapter_weights, lora_of, plain_weights


class OutgoingWeights:
    """Made while the model is whole; ZeRO may cut it up afterwards, if it puts `parts` together again for a while.

    Args:
        dtype: that engines compute in.
        merged: engines hold a plain model, so adapters come to them as changed weights.

    Attributes:
        lora: of the adapters that travel; None if all weights do.
        sizes: bytes of each weight in the learner, by name.
        shapes: of each weight when it is whole, in the same order.
        frozen: digests of the weights that an engine must hold already for the adapters to mean what they do here.
    """

    def __init__(self, model: Any, dtype: torch.dtype, *, merged: bool = False) -> None:
        self.dtype = dtype
        self.lora = None if merged else lora_of(model)
        self.frozen: dict[str, str] = {}
        self._weights = plain_weights(model)
        if self.lora is not None:
            self.frozen = {name: tensor_digest(weight.parameter.to(dtype)) for name, weight in self._weights.items()}
            self._weights = {name: PlainWeight(parameter) for name, parameter in adapter_weights(model).items()}
        self.sizes = {name: weight.parameter.nbytes for name, weight in self._weights.items()}
        self.shapes = {name: tuple(weight.parameter.shape) for name, weight in self._weights.items()}

    @property
    def num_bytes(self) -> int:
        """Of all weights as they travel."""
        return sum(math.prod(shape) for shape in self.shapes.values()) * self.dtype.itemsize

    def parts(self, names: Iterable[str]) -> list[nn.Parameter]:
        """The parameters that must be whole for `tensors`."""
        return [part for name in names for part in self._weights[name].parts]

    def tensors(self, names: Iterable[str], *, copy: bool = False) -> dict[str, Tensor]:
        """Weights in the engines' dtype.

        Args:
            copy: none of them shares memory with the model.
        """
        return {name: self._weights[name].value().to(self.dtype, copy=copy) for name in names}
