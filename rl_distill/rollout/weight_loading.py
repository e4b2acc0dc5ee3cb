"""Copying published weights into an engine's model: all of them, or an error that lists what does not fit."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def copy_weights(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy `tensors` into the model's parameters in place; the model keeps its own memory.

    Names are those of `models.digest.named_weights`. A tied parameter may also come under its other names, as in a state dict,
    with equal values.

    Raises:
        ValueError: parameters are missing, unexpected, or of another shape or dtype, or two names of a tied parameter disagree.
            Nothing has been copied then.
    """
    first_name = _first_names(model)
    parameters = dict(model.named_parameters())
    given: dict[str, Tensor] = {}
    faults = []
    for name, tensor in tensors.items():
        own = first_name.get(name)
        if own is None:
            faults.append(f"unexpected {name}")
        elif tensor.shape != parameters[own].shape or tensor.dtype != parameters[own].dtype:
            faults.append(f"{name} is {_kind(tensor)}, the engine holds {_kind(parameters[own])}")
        elif own in given and not torch.equal(given[own], tensor):
            faults.append(f"{name} is tied to {own} and differs from it")
        else:
            given[own] = tensor
    mentioned = {first_name.get(name) for name in tensors}
    faults += [f"missing {name}" for name in parameters if name not in mentioned]
    if faults:
        raise ValueError(
            f"tensors: {len(faults)} do not fit the engine's model: {'; '.join(faults)}; publish `named_weights` of the same "
            "architecture in the engine's dtype"
        )
    for name, parameter in parameters.items():
        parameter.copy_(given[name])


def _first_names(model: nn.Module) -> dict[str, str]:
    """Every name of every parameter -> the name it is known by."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    return {name: first[id(parameter)] for name, parameter in model.named_parameters(remove_duplicate=False)}


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
