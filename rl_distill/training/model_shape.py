"""A model's sizes, read from its skeleton: all that formulas of FLOPs and the planner know of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from rl_distill.cluster.memory import ModelSize
from rl_distill.errors import InputError
from rl_distill.models.lora import Lora, adapter_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A dense decoder.

    layers, hidden, intermediate, vocabulary  as in its configuration
    heads             query heads
    query, keys       width of all query heads together, and of all key heads, which the values have too
    body              weights of the layers' matrices: each multiplies every token
    head              weights of the output layer: vocabulary x hidden, tied or not
    size              what is trained, what is frozen beside it, bytes of a weight in an engine
    tensors           of an update of the weights
    outgoing_bytes    of an update of the weights
    """

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    heads: int
    query: int
    keys: int
    body: int
    head: int
    size: ModelSize
    tensors: int
    outgoing_bytes: int

    @property
    def kept_values(self) -> int:
        """Activations of one token that a layer keeps for its backward pass: 9 hidden + 2 keys + 4 intermediate.

        Counted in transformers' Llama with fused attention: two norms keep 3 hidden each (input, normed, output), attention its
        query, keys, values and output, the gated MLP four of its width. After arXiv:2205.05198, section 4, whose 34 bytes are of
        a plain MLP. Within 10 % of what torch keeps (`tests/unit/planning/test_footprint.py`).
        """
        return 9 * self.hidden + 2 * self.keys + 4 * self.intermediate

    @property
    def cache_values(self) -> int:
        """Keys and values that a token leaves behind in all layers: 2 keys layers (arXiv:2211.05102, section 2)."""
        return 2 * self.keys * self.layers


def shape_of(model: Any, size: ModelSize, *, tensors: int, outgoing_bytes: int) -> ModelShape:
    """
    Args:
        model: the student's skeleton without adapters, on any device.
        size: of the student, its adapters included.
        tensors, outgoing_bytes: of an update of the weights.

    Raises:
        InputError: it is no dense decoder.
    """
    settings = model.config.get_text_config()
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    if any(parameter.ndim > 2 for parameter in model.parameters()) or not hasattr(settings, "intermediate_size"):
        problem = f"is a {type(model).__name__}, and the planner counts dense decoders only"
        raise InputError("student.model", problem, "plan for a dense model of the size that is active for each token")
    heads = settings.num_attention_heads
    width = getattr(settings, "head_dim", None) or settings.hidden_size // heads
    head = settings.vocab_size * settings.hidden_size
    embeddings = 1 if settings.tie_word_embeddings else 2
    return ModelShape(
        layers=settings.num_hidden_layers,
        hidden=settings.hidden_size,
        intermediate=settings.intermediate_size,
        vocabulary=settings.vocab_size,
        heads=heads,
        query=heads * width,
        keys=(getattr(settings, "num_key_value_heads", None) or heads) * width,
        body=sum(parameter.numel() for parameter in matrices) - embeddings * head,
        head=head,
        size=size,
        tensors=tensors,
        outgoing_bytes=outgoing_bytes,
    )


def counted_shape(make: Callable[[], Any], lora: Lora | None = None) -> ModelShape:
    """For counting FLOPs.

    Args:
        make: builds the skeleton without adapters; adapters are put into one of its own.
        lora: adapters that are trained beside frozen weights; none trains all weights.

    Raises:
        InputError: it is no dense decoder.
    """
    plain = make()
    size = ModelSize(trained=sum(one.numel() for one in plain.parameters()), frozen=0, weight_bytes=4)
    shape = shape_of(plain, size, tensors=0, outgoing_bytes=0)
    if lora is None:
        return shape
    adapted = make()
    with torch.device("meta"):
        lora.inject(adapted, 0)
    adapters = sum(parameter.numel() for parameter in adapter_weights(adapted).values())
    return replace(shape, size=ModelSize(trained=adapters, frozen=size.trained, weight_bytes=4))
