"""A teacher's columns of a micro-batch: candidates for every sampled token and the teacher's log-probs of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rl_distill.batch import Candidates, collate
from rl_distill.learning.precision import Precision, autocast
from rl_distill.models.teacher import teacher_candidates
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Sample, Trajectory


def candidate_columns(
    model: Any,
    part: Sequence[Sample],
    candidates: Candidates,
    *,
    vocabulary: int,
    pad_id: int,
    chunk_tokens: int,
    precision: Precision,
) -> list[dict[str, tuple[Any, ...]]]:
    """`candidate_ids` and `teacher_candidate_logprobs` of each attempt; () where nothing was sampled.

    A single row is run twice: alone it would take another matrix kernel and give other bits.
    """
    device = next(model.parameters()).device
    rows = [*part, *part] if len(part) == 1 else part
    batch = collate(rows, pad_id=pad_id, sources=("",), columns=()).to(device)
    draws = _draws(rows, candidates.count, batch.token_ids.shape[1]).to(device) if candidates.drawn else None
    with autocast(device, precision):
        ids, logprobs = teacher_candidates(
            model,
            batch.token_ids,
            batch.attention_mask,
            batch.loss_mask,
            candidates=candidates,
            vocabulary=vocabulary,
            draws=draws,
            chunk_tokens=chunk_tokens,
        )
    columns = {"candidate_ids": ids.cpu(), "teacher_candidate_logprobs": logprobs.double().cpu()}
    return [
        {name: _entries(sample.trajectory, column[row]) for name, column in columns.items()} for row, sample in enumerate(part)
    ]


def _entries(trajectory: Trajectory, values: Tensor) -> tuple[tuple[Any, ...], ...]:
    """[T, K] as one tuple for each sampled token."""
    rows = values[: len(trajectory.token_ids)].tolist()
    return tuple(tuple(row) if mine else () for row, mine in zip(rows, trajectory.sampled, strict=True))


def _draws(rows: Sequence[Sample], count: int, width: int) -> Tensor:
    """[B, T, K] numbers from [0, 1): a function of each attempt alone, whoever scores it and beside whatever."""
    out = torch.zeros(len(rows), width, count, dtype=torch.float64)
    for row, sample in zip(out, rows, strict=True):
        trajectory = sample.trajectory
        seed = addressed_seed("candidates", trajectory.problem_id, *trajectory.token_ids)
        length = len(trajectory.token_ids)
        row[:length] = torch.rand(length, count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return out
