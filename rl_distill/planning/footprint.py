"""What a learner rank and an engine hold in memory: the weights' part from `cluster.memory`, and what comes on top of it."""

from dataclasses import dataclass

from rl_distill.cluster.memory import FLOAT32, rank_memory
from rl_distill.cluster.settings import LearnerPlaces
from rl_distill.planning.decoding import Batching
from rl_distill.planning.learning_cost import MicroBatch
from rl_distill.training.model_shape import ModelShape

_LOGITS_COPIES = 4  # at most, of a chunk: a teacher's candidates take all four, own tokens alone two
_WIDTH_STEP = 16  # engine hf allocates so many columns at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFootprint:
    """Bytes of a learner rank on its device; `host` is what off-loading keeps in its host's memory.

    states  weights, gradients and optimizer
    moved   the copy of the weights that the update's norm is taken from
    """

    states: float
    moved: float
    activations: float
    logits: float
    host: float

    @property
    def device(self) -> float:
        return self.states + self.moved + self.activations + self.logits


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFootprint:
    """Bytes of one engine, over all of its devices.

    cache  keys and values of the rows that are decoded together
    """

    weights: float
    cache: float
    logits: float

    @property
    def device(self) -> float:
        return self.weights + self.cache + self.logits


def rank_footprint(
    shape: ModelShape, places: LearnerPlaces, largest: MicroBatch, *, precision: str, checkpointing: bool, chunk_tokens: int
) -> RankFootprint:
    """
    Args:
        largest: the micro-batch with the most tokens.
        chunk_tokens: positions whose logits exist at once.
    """
    rank = rank_memory(shape.size, places)
    moved = FLOAT32 * shape.size.trained / (places.ranks if places.zero_stage else 1)
    return RankFootprint(
        states=rank.device,
        moved=moved if places.offload == "none" else 0.0,
        activations=activation_bytes(shape, largest, precision=precision, checkpointing=checkpointing),
        logits=logits_bytes(shape, min(chunk_tokens, largest.wanted)),
        host=rank.host + (moved if places.offload != "none" else 0.0),
    )


def activation_bytes(shape: ModelShape, part: MicroBatch, *, precision: str, checkpointing: bool) -> float:
    """Kept for the backward pass: of each layer `ModelShape.kept_values`; where they are computed again, every layer's input and
    one layer's values (arXiv:2205.05198). In bfloat16 the residual stream and the norms stay in float32: 14 bytes of hidden more,
    as torch's autocast keeps them.
    """
    tokens = part.rows * part.width
    layer = FLOAT32 * shape.kept_values if precision == "float32" else 2 * shape.kept_values + 14 * shape.hidden
    if checkpointing:
        return tokens * (shape.layers * shape.hidden * FLOAT32 + layer)
    return tokens * shape.layers * layer


def logits_bytes(shape: ModelShape, positions: int) -> float:
    """Float32 logits with what is made of them."""
    return _LOGITS_COPIES * FLOAT32 * positions * shape.vocabulary


def cache_bytes(shape: ModelShape, batching: Batching, *, longest: int, mean: float) -> float:
    """Keys and values while sampling: engine hf gives every row the longest sequence's room, vllm pages of what there is."""
    columns = -(-longest // _WIDTH_STEP) * _WIDTH_STEP if batching.engine == "hf" else mean
    return batching.max_rows * columns * shape.cache_values * batching.weight_bytes


def engine_footprint(shape: ModelShape, batching: Batching, *, longest: int, mean: float) -> EngineFootprint:
    """
    Args:
        longest, mean: tokens of a sequence, its prompt included.
    """
    return EngineFootprint(
        weights=shape.size.weights * batching.weight_bytes,
        cache=cache_bytes(shape, batching, longest=longest, mean=mean),
        logits=logits_bytes(shape, batching.max_rows),
    )


def rows_that_fit(shape: ModelShape, batching: Batching, *, longest: int, mean: float, memory: float) -> int:
    """How many sequences' keys and values fit beside the weights, at most `batching.max_rows`; 0 where not even one does."""
    row = cache_bytes(shape, batching, longest=longest, mean=mean) / batching.max_rows + logits_bytes(shape, 1)
    room = memory - shape.size.weights * batching.weight_bytes
    return max(0, min(batching.max_rows, int(room / row)))
