"""Samples as tensors. Index t of every [B, T] field is about token t; the shift happens once, in `models/logprobs.py`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rl_distill.trajectory import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The next tokens at which a teacher and the student are compared, at every sampled token.

    count        how many; a smaller vocabulary is compared whole
    temperature  of both softmaxes
    drawn        False: the teacher's most likely tokens, and one bucket for all others; True: drawn from it, with replacement
    """

    count: int
    temperature: float = 1.0
    drawn: bool = False


class Compared(NamedTuple):
    """Where a batch compares its next-token distributions: see `Candidates`."""

    ids: Tensor  # [B, T, K] int64
    temperature: float
    with_rest: bool  # whether the tokens that are no candidates count, as one bucket


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
    teacher_logprobs: Tensor | None  # [B, T]
    candidate_ids: Tensor | None  # [B, T, K] int64
    teacher_candidate_logprobs: Tensor | None  # [B, T, K], or [B, T, K + 1] with the log-prob of all other tokens at the end

    def compared(self, candidates: Candidates | None) -> Compared | None:
        """Where the student has to be read beside its own tokens; None if an algorithm asks for no candidates."""
        if candidates is None or self.candidate_ids is None or self.teacher_candidate_logprobs is None:
            return None
        with_rest = self.teacher_candidate_logprobs.shape[-1] > self.candidate_ids.shape[-1]
        return Compared(self.candidate_ids, candidates.temperature, with_rest)

    def to(self, device: torch.device) -> "Batch":
        return replace(self, **{name: value.to(device) for name in self.__slots__ if (value := getattr(self, name)) is not None})


@dataclass(frozen=True, slots=True)
class PolicyOutput:
    """What the policy being trained says about a batch. Positions outside the masks carry no meaning."""

    logprobs: Tensor  # [B, T] log-prob of each token at the sampling temperature, from float32 logits, with gradient
    entropy: Tensor | None = None  # [B, T] of the next-token distribution that produced the token, without gradient
    candidate_logprobs: Tensor | None = None  # as `Batch.teacher_candidate_logprobs`, with gradient; None where not asked for


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


COLUMNS = frozenset(
    {
        *("behavior_logprobs", "reference_logprobs", "proximal_logprobs"),
        *("teacher_logprobs", "candidate_ids", "teacher_candidate_logprobs"),
    }
)


WIDE_COLUMNS = frozenset({"candidate_ids", "teacher_candidate_logprobs"})  # several numbers for each token


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
        values = _column(samples, name) if name in columns else None
        return None if values is None else rows(values, 0.0, dtype)

    def wide_column(name: str, kind: torch.dtype) -> Tensor | None:
        values = _column(samples, name) if name in columns else None
        return None if values is None else _wide(values, width, kind, name)

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
        teacher_logprobs=column("teacher_logprobs"),
        candidate_ids=wide_column("candidate_ids", torch.int64),
        teacher_candidate_logprobs=wide_column("teacher_candidate_logprobs", dtype),
    )


def _column(samples: Sequence[Sample], name: str) -> list[Any] | None:
    """A column of all trajectories, or None where nothing of the objective has it. A lesson may be text alone: 0 for it."""
    values = [getattr(sample.trajectory, name) for sample in samples]
    objective = [value for sample, value in zip(samples, values, strict=True) if not sample.lesson]
    if objective and all(value is None for value in objective):
        return None
    empty = () if name in WIDE_COLUMNS else 0.0
    values = [
        (empty,) * len(sample.trajectory.token_ids) if value is None and sample.lesson else value
        for sample, value in zip(samples, values, strict=True)
    ]
    missing = [sample.trajectory.problem_id for sample, value in zip(samples, values, strict=True) if value is None]
    if missing:
        raise ValueError(f"{name}: missing for problem {missing[0]!r}; a batch has the column for all of its rows or for none")
    return values


def _wide(values: Sequence[Sequence[Sequence[float]]], width: int, kind: torch.dtype, name: str) -> Tensor:
    """[B, T, K] of columns whose entries hold K numbers each, or none: those stay 0."""
    sizes = {len(entry) for row in values for entry in row} - {0}
    if len(sizes) > 1:
        raise ValueError(f"{name}: entries of {min(sizes)} and of {max(sizes)} tokens in one batch; ask one teacher for as many")
    out = torch.zeros(len(values), width, max(sizes, default=0), dtype=kind)
    for row, entries in zip(out, values, strict=True):
        places = [place for place, entry in enumerate(entries) if entry]
        if places:
            row[places] = torch.tensor([entries[place] for place in places], dtype=kind)
    return out
