"""A causal language model, perhaps with PEFT adapters, whose ordinary forward pass can answer with log-probs.

The computation has to lie inside `model(...)`: that is where DDP and FSDP synchronise, autocast casts and PEFT puts its adapters.
"""

from collections.abc import Iterable
from copy import deepcopy
from functools import wraps
from types import MethodType
from typing import Any

import torch
from accelerate.utils import is_peft_model
from torch import Tensor
from transformers import set_seed
from transformers.utils import is_peft_available

from rl_distill.batch import Batch, PolicyOutput
from rl_distill.errors import InputError
from rl_distill.models.loading import load_model, remove_dropout
from rl_distill.models.logprobs import check_head, policy_output

_ADAPTER_DROPOUT = "lora_dropout"


def policy_model(model: Any, peft_config: Any = None, *, seed: int = 0) -> Any:
    """The model to train: loaded if it is a name, without dropout, with new adapters if `peft_config` is given.

    Args:
        model: folder or hub name, a `PreTrainedModel`, or a `PeftModel`. Changed in place.
        peft_config: a `peft.PeftConfig`; the adapters' initial weights are a function of `seed`.

    Raises:
        InputError: log-probs of this model or of these adapters would not be what the model says.
    """
    if isinstance(model, str):
        model = load_model(model, field="model")
    inner = causal_model(model)
    output = getattr(inner, "get_output_embeddings", lambda: None)()
    if output is None or inner.config.is_encoder_decoder:
        raise InputError("model", f"{type(inner).__name__} is no causal language model", "give one of AutoModelForCausalLM")
    _check_adapters(model)
    remove_dropout(module for name, module in inner.named_modules() if _ADAPTER_DROPOUT not in name)
    check_head(inner.eval())
    if peft_config is not None:
        model = _with_adapters(model, peft_config, seed)
        _check_adapters(model)
    return model


def causal_model(model: Any) -> Any:
    """The causal language model inside a `PeftModel`, adapters and all; any other model as it is."""
    return model.get_base_model() if is_peft_model(model) else model


def frozen_copy(model: Any) -> Any:
    """The causal language model as it is now, adapters and all, for good."""
    return causal_model(deepcopy(model)).eval().requires_grad_(False)


def check_precision(parameters: Iterable[torch.nn.Parameter]) -> None:
    """
    Raises:
        InputError: weights that are to be trained are too coarse for the step of a small learning rate.
    """
    coarse = next((p.dtype for p in parameters if p.requires_grad and p.dtype in (torch.bfloat16, torch.float16)), None)
    if coarse is not None:
        raise InputError(
            "model",
            f"its trained weights are {coarse}, in which small updates vanish",
            "load it with dtype=torch.float32; bf16=True in the arguments computes in bfloat16 all the same",
        )


def answer_logprobs(model: Any) -> None:
    """From now on the model's forward pass answers with log-probs where it is called by `logprobs_of`."""
    inner = causal_model(model)
    ordinary = inner.forward
    if getattr(ordinary, "answers_logprobs", False):
        return

    @wraps(getattr(ordinary, "__func__", ordinary))
    def forward(self: Any, *args: Any, wanted: Tensor | None = None, chunk_tokens: int = 0, **options: Any) -> Any:
        if wanted is None:
            return ordinary(*args, **options)
        out = policy_output(self, options["input_ids"], options["attention_mask"], wanted, chunk_tokens=chunk_tokens)
        return out.logprobs, out.entropy

    forward.answers_logprobs = True  # type: ignore[attr-defined]
    inner.forward = MethodType(forward, inner)


def logprobs_of(model: Any, batch: Batch, *, chunk_tokens: int) -> PolicyOutput:
    """What the model, wrapped by whatever trains it, says about a batch.

    Args:
        chunk_tokens: positions whose logits exist at once.
    """
    return PolicyOutput(
        *model(input_ids=batch.token_ids, attention_mask=batch.attention_mask, wanted=batch.loss_mask, chunk_tokens=chunk_tokens)
    )


def _with_adapters(model: Any, peft_config: Any, seed: int) -> Any:
    if not is_peft_available():
        raise InputError("peft_config", "needs the library peft", "pip install 'rl_distill[lora]'")
    if is_peft_model(model):
        raise InputError("peft_config", "the model has adapters already", "drop peft_config, or merge the adapters first")
    from peft import get_peft_model

    set_seed(seed)
    return get_peft_model(model, peft_config)


def _check_adapters(model: Any) -> None:
    """Refuse adapters whose effect on the log-probs would be left out."""
    if is_peft_model(model) and model.active_peft_config.is_prompt_learning:
        kind = type(model.active_peft_config).__name__
        raise InputError(
            "peft_config", f"{kind} puts virtual tokens before the text", "use adapters inside the layers, such as LoRA"
        )
    if not is_peft_available():
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    head = causal_model(model).get_output_embeddings()
    if any(isinstance(module, BaseTunerLayer) for module in head.modules()):
        raise InputError(
            "peft_config",
            "has an adapter on the output layer, whose weight is used as it is",
            "leave the output layer out of target_modules, or put it into modules_to_save",
        )
