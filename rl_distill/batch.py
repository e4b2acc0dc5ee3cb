"""Samples as tensors. Index t of every [B, T] field is about token t; the shift happens once, in `models/logprobs.py`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from rl_distill.trajectory import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Denominators of one whole optimizer step over all ranks, per source [S]; known before the first micro-batch."""

    tokens: Tensor  # [S] tokens of the objective
    sequences: Tensor  # [S] rows of the objective
    units: Tensor  # [S] distinct units of the objective (pairs, or rows that stand alone)
    lesson_tokens: Tensor  # [S] tokens imitated beside the objective

    def to(self, device: torch.device) -> "Totals":
        return Totals(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A padded micro-batch. Optional columns are None when no trajectory carries them.

    Example: one row, prompt of two tokens, response of two, one pad
        token_ids [[5, 6, 7, 2, 0]]   attention_mask [[1, 1, 1, 1, 0]]   loss_mask [[0, 0, 1, 1, 0]]
    """

    token_ids: Tensor  # [B, T] int64
    attention_mask: Tensor  # [B, T] bool
    loss_mask: Tensor  # [B, T] bool, tokens of the objective
    lesson_mask: Tensor  # [B, T] bool, tokens imitated beside it
    advantages: Tensor  # [B]
    labels: Tensor  # [B] +1 or -1
    units: Tensor  # [B] int64, rows of one unit share a number within the batch
    sources: Tensor  # [B] int64, index into Totals
    behavior_logprobs: Tensor | None  # [B, T]
    reference_logprobs: Tensor | None  # [B, T]
    proximal_logprobs: Tensor | None  # [B, T]

    def to(self, device: torch.device) -> "Batch":
        return replace(self, **{name: value.to(device) for name in self.__slots__ if (value := getattr(self, name)) is not None})


@dataclass(frozen=True, slots=True)
class PolicyOutput:
    """What the policy being trained says about a batch. Positions outside the masks carry no meaning."""

    logprobs: Tensor  # [B, T] log-prob of each token at the sampling temperature, from float32 logits, with gradient
    entropy: Tensor | None = None  # [B, T] of the next-token distribution that produced the token, without gradient


def source_names(samples: Sequence[Sample]) -> tuple[str, ...]:
    """The step's sources in a fixed order; `Totals` and `Batch.sources` count by it."""
    return tuple(sorted({sample.source for sample in samples}))


def totals(samples: Sequence[Sample], sources: Sequence[str], dtype: torch.dtype = torch.float32) -> Totals:
    """Count a whole optimizer step. Counts below 2**24 are exact in float32."""
    tokens, sequences, lesson_tokens = ({name: 0 for name in sources} for _ in range(3))
    units: dict[str, set[object]] = {name: set() for name in sources}
    for index, sample in enumerate(samples):
        if sample.lesson:
            lesson_tokens[sample.source] += sample.trajectory.num_sampled
            continue
        tokens[sample.source] += sample.trajectory.num_sampled
        sequences[sample.source] += 1
        units[sample.source].add(sample.unit or index)

    def column(counts: dict[str, int]) -> Tensor:
        return torch.tensor([max(1, counts[name]) for name in sources], dtype=dtype)

    return Totals(
        tokens=column(tokens),
        sequences=column(sequences),
        units=column({name: len(members) for name, members in units.items()}),
        lesson_tokens=column(lesson_tokens),
    )


COLUMNS = frozenset({"behavior_logprobs", "reference_logprobs", "proximal_logprobs"})


def collate(
    samples: Sequence[Sample],
    *,
    pad_id: int,
    sources: Sequence[str],
    dtype: torch.dtype = torch.float32,
    columns: Collection[str] = COLUMNS,
) -> Batch:
    """Right-pad samples to the longest of them.

    Args:
        columns: which of `COLUMNS` to take along; the others are None in the batch.
    """
    width = max(len(sample.trajectory.token_ids) for sample in samples)

    def rows(
        values: list[Sequence[float] | Sequence[bool] | Sequence[int]], fill: float | bool | int, kind: torch.dtype
    ) -> Tensor:
        out = torch.full((len(values), width), fill, dtype=kind)
        for row, items in zip(out, values, strict=True):
            row[: len(items)] = torch.tensor(items, dtype=kind)
        return out  # [B, T]

    def column(name: str) -> Tensor | None:
        values: list[Any] = [getattr(sample.trajectory, name) if name in columns else None for sample in samples]
        if all(value is None for value in values):
            return None
        missing = [sample.trajectory.problem_id for sample, value in zip(samples, values, strict=True) if value is None]
        if missing:
            raise ValueError(
                f"{name}: missing for problem {missing[0]!r}; a batch has the column for all of its rows or for none"
            )
        return rows(values, 0.0, dtype)

    sampled = rows([sample.trajectory.sampled for sample in samples], False, torch.bool)
    lesson = torch.tensor([sample.lesson for sample in samples])[:, None]
    numbers: dict[object, int] = {}
    return Batch(
        token_ids=rows([sample.trajectory.token_ids for sample in samples], pad_id, torch.int64),
        attention_mask=rows([[True] * len(sample.trajectory.token_ids) for sample in samples], False, torch.bool),
        loss_mask=sampled & ~lesson,
        lesson_mask=sampled & lesson,
        advantages=torch.tensor([sample.advantage for sample in samples], dtype=dtype),
        labels=torch.tensor([sample.label for sample in samples], dtype=dtype),
        units=torch.tensor(
            [numbers.setdefault(sample.unit or ("row", index), len(numbers)) for index, sample in enumerate(samples)]
        ),
        sources=torch.tensor([sources.index(sample.source) for sample in samples]),
        behavior_logprobs=column("behavior_logprobs"),
        reference_logprobs=column("reference_logprobs"),
        proximal_logprobs=column("proximal_logprobs"),
    )
