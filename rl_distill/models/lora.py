"""Low-rank adapters in the layers of a causal language model: put in, taken out, added to the weights. The door of peft.

The model stays what it is, a transformers class with `base_model` and `get_output_embeddings`; only its linear layers change. A
weight that has an adapter keeps the name that it has without: what peft calls `q_proj.base_layer.weight` is `q_proj.weight`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.seeding import addressed_seed

FIELD = "student.lora"
ADAPTER = "default"  # peft's name for the only adapter of a model
ADAPTER_FOLDER = "adapter"  # in a student's folder


@config
class Lora:
    """Every stage trains new low-rank adapters (arXiv:2106.09685) on a student whose own weights are frozen.

    A stage's student is saved merged, as a plain model, with the adapters beside it in PEFT's format; the next stage starts from
    the merged one with adapters of its own. A pretraining trains all weights: adapters belong to the stages. There is no dropout.
    """

    rank: int = setting(16, about="rank of each adapter", ge=1)
    alpha: float = setting(32.0, about="what an adapter adds is multiplied by alpha / rank", gt=0)
    target_modules: tuple[str, ...] | None = setting(
        None,
        about="names of the linear layers that get one, such as q_proj; none is all but the output layer",
        source="arXiv:2305.14314",
        min_length=1,
    )

    def check(self, model: Any) -> None:
        """See whether a model can have these adapters; one on the meta device will do.

        Raises:
            InputError: it cannot, or peft is missing.
        """
        if find_spec("peft") is None:
            raise InputError(FIELD, "needs the library peft", "pip install 'rl_distill[lora]'")
        self._layers(model)

    @torch.inference_mode(False)
    def inject(self, model: Any, seed: int) -> Any:
        """The same model with adapters that do not change it yet, the only weights of it that are trained.

        Args:
            seed: their initial values are a function of it and the model's shapes.

        Raises:
            InputError: see `check`.
        """
        self.check(model)
        if lora_of(model) is not None:
            raise ValueError("model: it has adapters already; merge or remove them first")
        from peft import LoraConfig, inject_adapter_in_model

        settings = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=_short(self._layers(model), model),
            lora_dropout=0.0,
            task_type="CAUSAL_LM",
            base_model_name_or_path=model.config._name_or_path or None,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(settings, model)
        settings.target_modules = sorted(settings.target_modules or ())  # peft's set has another order in every process
        return model

    def maker(self, make_model: Callable[[], Any], *address: int | str) -> Callable[[], Any]:
        """Makes a model with adapters, in the process that is to hold it; see `inject`.

        Args:
            address: of the adapters' initial values, such as (run seed, stage).
        """
        return partial(_made, self, make_model, addressed_seed(*address, "lora"))

    def _layers(self, model: Any) -> set[str]:
        """Names of the layers that get an adapter."""
        layers, kind = _linear_layers(model), type(model).__name__
        if not layers:
            raise InputError(FIELD, f"{kind} has no linear layer that could have an adapter", "drop it, to train all weights")
        found = set()
        for target in layers if self.target_modules is None else self.target_modules:
            reached = {name for name in layers if name == target or name.endswith(f".{target}")}
            if not reached:
                known = ", ".join(dict.fromkeys(map(_leaf, layers)))
                problem = f"{target!r} is no linear layer of {kind} (its output layer is left out)"
                raise InputError(f"{FIELD}.target_modules", problem, f"choose among {known}")
            found |= reached
        return found


@dataclass(frozen=True, slots=True)
class PlainWeight:
    """A weight of the model as it is without adapters: a parameter, and what the adapter of its layer adds to it, if any."""

    parameter: nn.Parameter
    layer: Any = None

    @property
    def parts(self) -> list[nn.Parameter]:
        """The parameters that `value` reads."""
        adapter = [] if self.layer is None else [self.layer.lora_A[ADAPTER].weight, self.layer.lora_B[ADAPTER].weight]
        return [self.parameter, *adapter]

    def value(self) -> Tensor:
        """W + alpha / rank * B A; without an adapter the parameter itself, not a copy."""
        weight = self.parameter.detach()
        if self.layer is None:
            return weight
        with torch.no_grad():
            return weight + self.layer.get_delta_weight(ADAPTER)


def lora_of(model: Any) -> Lora | None:
    """What adapters a model has; None for a plain one."""
    settings = getattr(model, "peft_config", {}).get(ADAPTER)
    if settings is None:
        return None
    return Lora(rank=settings.r, alpha=settings.lora_alpha, target_modules=tuple(sorted(settings.target_modules)))


def adapter_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a model's adapters by name; {} for a plain one."""
    return {name: parameter for name, parameter in model.named_parameters() if _is_adapter(name)}


def plain_weights(model: nn.Module) -> dict[str, PlainWeight]:
    """All weights of the model as it is without adapters, under its own names, each once."""
    layers = dict(_adapted_layers(model))
    found = {}
    for name, parameter in model.named_parameters():
        if not _is_adapter(name):
            path, _, kind = name.rpartition(".base_layer.")
            found[plain_name(name)] = PlainWeight(parameter, layers[path] if kind == "weight" else None)
    return found


def merged(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a plain model that computes what this one computes with its adapters. The model stays as it is."""
    return {name: weight.value() for name, weight in plain_weights(model).items()}


def plain_name(name: str) -> str:
    """The name that a weight has in a model without adapters."""
    return name.replace(".base_layer.", ".")


def remove_adapters(model: Any) -> None:
    """Make it the plain model again that it was before it had adapters, if it has any."""
    for path, layer in list(_adapted_layers(model)):
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, layer.base_layer)
    model.__dict__.pop("peft_config", None)


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapters as `PeftModel.from_pretrained(base, folder)` reads them."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": parameter.detach().cpu().contiguous()
        for name, parameter in adapter_weights(model).items()
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    model.peft_config[ADAPTER].save_pretrained(folder)


def _made(lora: Lora, make_model: Callable[[], Any], seed: int) -> Any:
    return lora.inject(make_model(), seed)


def _is_adapter(name: str) -> bool:
    return f".lora_A.{ADAPTER}." in name or f".lora_B.{ADAPTER}." in name


def _adapted_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((path, module) for path, module in model.named_modules() if hasattr(module, "base_layer"))


def _short(layers: set[str], model: nn.Module) -> list[str]:
    """The last parts of the names alone, as is usual, where they mean exactly these layers."""
    leaves = set(map(_leaf, layers))
    return sorted(leaves if {path for path, _ in model.named_modules() if _leaf(path) in leaves} == layers else layers)


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _linear_layers(model: Any) -> list[str]:
    """Names of the layers that multiply by a matrix, without the output layer, whose weight is used as it is."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return [path for path, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and module is not head]
