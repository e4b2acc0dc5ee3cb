"""Copying published weights into an engine's model: all that travel, or an error that lists what does not fit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rl_distill.models.lora import adapter_weights, lora_of, plain_name, remove_adapters
from rl_distill.models.weights import WeightUpdate


def take_over(model: Any, update: WeightUpdate) -> None:
    """Give a model the weights of an update: all of them and no adapters, or adapters beside the weights that it has.

    Raises:
        ValueError: they do not fit, see `fitting_weights`. What the model computes has not changed then.
    """
    if update.lora is not None and update.lora != lora_of(model):
        remove_adapters(model)
        update.lora.inject(model, seed=0).requires_grad_(False)  # without effect until the update's own values are copied
    copy_weights(model, update.tensors, adapters=update.lora is not None)
    if update.lora is None:
        remove_adapters(model)


@torch.no_grad()
def copy_weights(model: nn.Module, tensors: Mapping[str, Tensor], *, adapters: bool = False) -> None:
    """Copy `tensors` into the model's parameters in place; the model keeps its own memory.

    Args:
        adapters: they are those of the model's adapters, and not all the others.

    Raises:
        ValueError: they do not fit, see `fitting_weights`. Nothing has been copied then.
    """
    given = fitting_weights(model, tensors, adapters=adapters)
    for name, parameter in model.named_parameters():
        if plain_name(name) in given:
            parameter.copy_(given[plain_name(name)])


def fitting_weights(model: nn.Module, tensors: Mapping[str, Tensor], *, adapters: bool = False) -> dict[str, Tensor]:
    """A tensor for every parameter that is to be loaded, whose memory is not touched; one on the meta device will do.

    Names are those of `models.digest.named_weights`. A tied parameter may also come under its other names, as in a state dict,
    with equal values.

    Args:
        adapters: load the model's adapters, and not all the others.

    Raises:
        ValueError: parameters are missing, unexpected, or of another shape or dtype, or two names of a tied parameter disagree.
    """
    adapter = adapter_weights(model)
    parameters = {plain_name(name): parameter for name, parameter in model.named_parameters() if (name in adapter) is adapters}
    first_name = {name: own for name, own in first_names(model).items() if own in parameters}
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
    return given


def first_names(model: nn.Module) -> dict[str, str]:
    """Every name of every parameter -> the name it is known by."""
    first = {id(parameter): plain_name(name) for name, parameter in model.named_parameters()}
    return {plain_name(name): first[id(parameter)] for name, parameter in model.named_parameters(remove_duplicate=False)}


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
