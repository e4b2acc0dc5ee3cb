"""What sampling a shard takes: as many steps of decoding as its rows need, each with the rows that are still there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rl_distill.planning.work import Work
from rl_distill.training.flops import decoding_flops, forward_flops
from rl_distill.training.model_shape import ModelShape

_IDLE_FRACTION = 8  # engine hf: one idle row in so many is worth a change of the rows (`rollout.decode_loop`)
_SCORE_VALUES = 4  # of each query head and cached position: product, masked, exponential, normalised
_DRAW_VALUES = 6  # of each logit: scaled, log-softmax, exponential, cumulated in float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How an engine decodes a shard.

    engine          hf pads all rows to the longest and lets finished ones go an eighth at a time; vllm does neither
    max_rows        decoded together
    prefill_tokens  of one forward pass
    weight_bytes    of a weight, and of a key or value
    """

    engine: Literal["hf", "vllm"]
    max_rows: int
    prefill_tokens: int
    weight_bytes: int


def shard_work(shape: ModelShape, batching: Batching, responses: Sequence[int], *, prompt: int, group_size: int) -> Work:
    """Prefill and decoding of one shard.

    Between two events (a row ends, rows are changed) all steps have the same rows and their contexts grow by one each, so the
    steps between count with the middle context.

    Args:
        responses: tokens of each, in the order in which they are given a row.
        prompt: tokens before each; the attempts at one problem share them, and they are computed once.
    """
    work = prefill_work(shape, batching, -(-len(responses) // group_size), prompt)
    least, at_once = (2, False) if batching.engine == "hf" else (1, True)
    waiting = np.array(responses, dtype=np.int64)
    left, waiting = waiting[: batching.max_rows], waiting[batching.max_rows :]  # tokens to come: of the rows, of those who wait
    context = np.full(len(left), prompt)
    rows = max(least, len(left))  # idle ones included
    while len(left):
        steps = int(left.min())
        middle = context + (steps + 1) / 2
        count, read = (len(left), float(middle.sum())) if at_once else (rows, rows * float(middle.max()))
        work += _steps_work(shape, batching, steps, count, read)
        left, context = left - steps, context + steps
        left, context = left[left > 0], context[left > 0]
        idle = rows - len(left)
        if at_once or idle * _IDLE_FRACTION >= rows:
            left, waiting = np.concatenate([left, waiting[:idle]]), waiting[idle:]
            context = np.concatenate([context, np.full(len(left) - len(context), prompt)])
            rows = max(least, len(left))
    return work


def prefill_work(shape: ModelShape, batching: Batching, num_prompts: int, prompt: int) -> Work:
    """Keys and values of prompts."""
    tokens = num_prompts * prompt
    passes = -(-tokens // batching.prefill_tokens)
    return Work(
        passes=passes,
        layers=passes * shape.layers,
        flops=forward_flops(shape, tokens=tokens, squares=tokens * prompt),
        bytes=passes * shape.body * batching.weight_bytes,
        values=tokens * shape.layers * shape.kept_values,
    )


def _steps_work(shape: ModelShape, batching: Batching, steps: int, rows: int, read: float) -> Work:
    """So many steps of `rows` tokens, which read `read` cached positions each; a step reads all weights (arXiv:2211.05102)."""
    weights = shape.body + shape.head
    return Work(
        passes=steps,
        layers=steps * shape.layers,
        flops=decoding_flops(shape, tokens=steps * rows, context=steps * read),
        bytes=steps * batching.weight_bytes * (weights + shape.cache_values * read),
        values=steps * rows * (shape.layers * shape.kept_values + _DRAW_VALUES * shape.vocabulary)
        + steps * shape.layers * _SCORE_VALUES * shape.heads * read,
    )
