"""FLOPs of matrix products: for each weight and token 2 forward and 4 backward (arXiv:2001.08361, section 2.1), and attention.

Attention takes 4 x query width FLOPs for each layer and pair of a token with one it looks at, the masked half included where
whole rows go through. Looking up embeddings takes none.
"""

from rl_distill.training.model_shape import ModelShape
from rl_distill.training.work_counts import WorkCounts


def sampled_flops(shape: ModelShape, work: WorkCounts) -> float:
    """Of what was sampled, prompts and responses."""
    counts = {name: work.get(f"sampling/{name}", 0) for name in ("prompt_tokens", "prompt_squares", "tokens", "context")}
    prompts = forward_flops(shape, tokens=counts["prompt_tokens"], squares=counts["prompt_squares"])
    return prompts + decoding_flops(shape, tokens=counts["tokens"], context=counts["context"])


def scored_flops(shape: ModelShape, who: str, work: WorkCounts) -> float:
    """Of the rows that `who` read: reference, teacher or proximal."""
    return forward_flops(shape, **_rows(who, work))


def trained_flops(shape: ModelShape, work: WorkCounts, *, checkpointing: bool) -> float:
    """Of the rows that were trained on, and of those that stood beside them without credit."""
    return training_flops(shape, **_rows("training", work), checkpointing=checkpointing) + forward_flops(
        shape, **_rows("still", work)
    )


def forward_flops(shape: ModelShape, *, tokens: float, squares: float, logits: float = 0) -> float:
    """Rows through a model, without gradient.

    Args:
        squares: of the rows' lengths, added up.
        logits: positions of which the next token's distribution is computed.
    """
    return _body(shape, 2, 2, tokens) + _attention(shape, squares) + 2 * shape.head * logits


def training_flops(shape: ModelShape, *, tokens: float, squares: float, logits: float, checkpointing: bool) -> float:
    """Rows through a model, forward and backward. Where activations are computed again a layer takes a third more; frozen weights
    have no gradient of their own (2 less). Logits are computed twice (`models.logprobs`).
    """
    times = 4 if checkpointing else 3
    frozen = 2 if _adapters(shape) else 0
    return _body(shape, 2 * times - frozen, 2 * times, tokens) + times * _attention(shape, squares) + 8 * shape.head * logits


def decoding_flops(shape: ModelShape, *, tokens: float, context: float) -> float:
    """Tokens that go through a model one at a time, by an engine without adapters of its own.

    Args:
        context: positions that each looks at, added up.
    """
    return 2 * (shape.body + shape.head) * tokens + _attention(shape, context)


def _rows(who: str, work: WorkCounts) -> dict[str, float]:
    return {name: work.get(f"{who}/{name}", 0) for name in ("tokens", "squares", "logits")}


def _attention(shape: ModelShape, pairs: float) -> float:
    return 4 * shape.layers * shape.query * pairs


def _body(shape: ModelShape, per_weight: int, per_adapter: int, tokens: float) -> float:
    return (per_weight * shape.body + per_adapter * _adapters(shape)) * tokens


def _adapters(shape: ModelShape) -> int:
    return shape.size.trained if shape.size.frozen else 0
