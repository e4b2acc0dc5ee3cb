"""Weights in Ray's object store: written once by a learner's first rank, read by engine workers where they lie.

They travel as numpy arrays, which a reader on the same host maps instead of copying; bfloat16, which numpy lacks, as its bits.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
import torch
from torch import Tensor

from rl_distill.models.weights import WeightUpdate

Bucket = dict[str, tuple[Any, str]]  # name -> (array, dtype of the tensor)


class StoredTensors(Mapping[str, Tensor]):
    """Tensors by name that are fetched when they are read, and may not be written to.

    Args:
        places: name -> the bucket that holds it.
    """

    def __init__(self, buckets: Sequence[Any], places: Mapping[str, int]) -> None:
        self.buckets, self.places = tuple(buckets), dict(places)
        self._fetched: dict[int, Bucket] = {}

    def __getitem__(self, name: str) -> Tensor:
        place = self.places[name]
        if place not in self._fetched:
            self._fetched[place] = ray.get(self.buckets[place])
        return unpacked(*self._fetched[place][name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredTensors, (self.buckets, self.places)  # what was fetched stays where it was


def stored(update: WeightUpdate) -> WeightUpdate:
    """An update whose tensors lie in the store, so that it can be sent to many workers."""
    if isinstance(update.tensors, StoredTensors):
        return update
    tensors = StoredTensors([put(update.tensors)], dict.fromkeys(update.tensors, 0))
    return replace(update, tensors=tensors)


def put(tensors: Mapping[str, Tensor]) -> Any:
    """Copy tensors into the store; returns the reference to them."""
    return ray.put({name: packed(tensor) for name, tensor in tensors.items()})


def packed(tensor: Tensor) -> tuple[Any, str]:
    tensor = tensor.detach().cpu().contiguous()
    bits = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
    return bits.numpy(), str(tensor.dtype).removeprefix("torch.")


def unpacked(array: Any, dtype: str) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of memory that may not be written to: every reader of weights copies
        tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor
