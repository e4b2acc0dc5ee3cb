"""What an optimizer step takes: micro-batches packed as the learner packs them, gradients over links, the update."""

from collections.abc import Sequence
from dataclasses import dataclass

from rl_distill.cluster.memory import FLOAT32
from rl_distill.cluster.settings import LearnerPlaces
from rl_distill.learning.cutting import cut
from rl_distill.planning.work import Work
from rl_distill.training.flops import forward_flops, training_flops
from rl_distill.training.model_shape import ModelShape

_HEAD_VALUES = 16  # of each logit, forward and backward: it is computed again there (`models.token_logprobs`)
_UPDATE_BYTES = 12 * FLOAT32  # of each weight: AdamW reads four numbers and writes three, clipping and the update's norm the rest


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """`rows` sequences padded to `width` tokens, of which `wanted` carry loss."""

    rows: int
    width: int
    wanted: int


def pack(units: Sequence[Sequence[tuple[int, int]]], max_tokens: int) -> list[MicroBatch]:
    """Units of (tokens, tokens with loss) as `learning.step_plan.split` packs them: longest first, units whole."""
    ordered = sorted(units, key=lambda unit: max(unit)[0], reverse=True)
    parts = cut([max(unit)[0] for unit in ordered], [len(unit) for unit in ordered], max_tokens)
    return [_micro_batch([row for unit in ordered[part] for row in unit]) for part in parts]


def divide(units: Sequence[Sequence[tuple[int, int]]], ranks: int) -> list[list[Sequence[tuple[int, int]]]]:
    """Units to ranks as `learning.step_plan.divide` gives them: the longest first, each to who has least."""
    shares: list[list[Sequence[tuple[int, int]]]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    for unit in sorted(units, key=lambda unit: sum(tokens for tokens, _ in unit), reverse=True):
        rank = min(range(ranks), key=load.__getitem__)
        shares[rank].append(unit)
        load[rank] += sum(tokens for tokens, _ in unit)
    return shares


def micro_batch_work(
    shape: ModelShape, part: MicroBatch, *, checkpointing: bool, weight_bytes: int, forward: bool = False
) -> Work:
    """One pass of a micro-batch, padding included. Logits exist for tokens with loss only.

    Args:
        forward: scores only, without gradient.
    """
    tokens = part.rows * part.width
    counts = {"tokens": tokens, "squares": tokens * part.width, "logits": part.wanted}
    times = 1 if forward else 4 if checkpointing else 3
    share = 1 / 3 if forward else 1.0
    return Work(
        passes=share,
        layers=share * shape.layers,
        flops=forward_flops(shape, **counts) if forward else training_flops(shape, **counts, checkpointing=checkpointing),
        bytes=times * (shape.body + shape.head) * weight_bytes,
        values=share * (tokens * shape.layers * shape.kept_values + _HEAD_VALUES * part.wanted * shape.vocabulary),
    )


def update_bytes(shape: ModelShape, places: LearnerPlaces) -> float:
    """Of memory that a rank reads and writes to change its weights: its part of them from ZeRO 1 on."""
    return _UPDATE_BYTES * shape.size.trained / (places.ranks if places.zero_stage else 1)


def exchanged_bytes(shape: ModelShape, places: LearnerPlaces, passes: int) -> float:
    """What each rank sends in a step, in float32 (arXiv:1910.02054, section 7): with P trained numbers and n ranks a ring sends
    (n - 1)/n P to reduce and as much to gather. ZeRO 0 and 1 do both once a step, 2 reduces in every pass, 3 also gathers all
    weights in every pass, forward and backward.
    """
    ring = (places.ranks - 1) / places.ranks * FLOAT32
    reduced, gathered = ring * shape.size.trained, ring * shape.size.weights
    if places.zero_stage == 3:
        return passes * (reduced + 2 * gathered)
    return (passes if places.zero_stage == 2 else 1) * reduced + ring * shape.size.trained


def _micro_batch(members: Sequence[tuple[int, int]]) -> MicroBatch:
    return MicroBatch(len(members), max(tokens for tokens, _ in members), sum(wanted for _, wanted in members))
