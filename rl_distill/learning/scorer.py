"""What a model says about attempts: log-probs of a reference, of a teacher, and of the learner itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import torch

from rl_distill.batch import Batch, Candidates, PolicyOutput, collate
from rl_distill.learning.precision import Precision, autocast
from rl_distill.learning.step_plan import split
from rl_distill.learning.teacher_columns import candidate_columns
from rl_distill.models.logprobs import policy_output
from rl_distill.trajectory import Group, Sample, Trajectory

Row = TypeVar("Row")
Columns = Mapping[str, Any]  # of one attempt, by the name of the field; aligned with `token_ids`


class Scorer(Protocol):
    """Writes what a frozen model says beside the tokens of attempts, wherever that model lives."""

    def annotate(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """The same attempts with the columns of `ScorerConfig`."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerConfig:
    """How a scorer computes: as the learner does, so that the same weights give the same log-probs.

    column      of the sampled tokens' log-probs
    candidates  a teacher compares at these instead: the columns are `candidate_ids` and `teacher_candidate_logprobs`
    vocabulary  rows of the student's embedding, which no candidate lies beyond
    """

    pad_id: int
    temperature: float
    max_tokens: int
    chunk_tokens: int
    precision: Precision
    column: Literal["reference_logprobs", "teacher_logprobs"] = "reference_logprobs"
    candidates: Candidates | None = None
    vocabulary: int = 2**31


class ModelScorer:
    """A scorer with the model in this process."""

    def __init__(self, model: Any, config: ScorerConfig) -> None:
        self.model, self.config = model.eval().requires_grad_(False), config

    def annotate(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        parts = scoring_parts(trajectories, self.config.max_tokens)
        return with_columns(trajectories, in_order(parts, [self.score(part) for part in parts]))

    def score(self, part: Sequence[Sample]) -> list[Columns]:
        """The columns of the attempts of one micro-batch."""
        config = self.config
        if config.candidates is None:
            return [{config.column: row} for row in _score(self.model, config, part)]
        return list(
            candidate_columns(
                self.model,
                part,
                config.candidates,
                vocabulary=config.vocabulary,
                pad_id=config.pad_id,
                chunk_tokens=config.chunk_tokens,
                precision=config.precision,
            )
        )

    def close(self) -> None:
        """Nothing to do: the model goes with the object."""


def sampled_logprobs(model: Any, trajectories: Sequence[Trajectory], config: ScorerConfig) -> list[tuple[float, ...]]:
    """Log-prob of every sampled token under a model, aligned with `token_ids`; 0 where nothing was sampled."""
    return score_all(trajectories, config.max_tokens, partial(_score, model, config))


@torch.no_grad()
def _score(model: Any, config: ScorerConfig, part: Sequence[Sample]) -> list[tuple[float, ...]]:
    device = next(model.parameters()).device

    def forward(batch: Batch) -> PolicyOutput:
        with autocast(device, config.precision):
            return policy_output(
                model,
                batch.token_ids,
                batch.attention_mask,
                batch.loss_mask,
                temperature=config.temperature,
                chunk_tokens=config.chunk_tokens,
            )

    return score_part(forward, part, pad_id=config.pad_id, device=device)


def annotate_groups(scorer: Scorer, groups: Sequence[Group]) -> list[Group]:
    """Every attempt of every group with the scorer's columns."""
    annotated = iter(scorer.annotate([trajectory for group in groups for trajectory in group.trajectories]))
    return [replace(group, trajectories=tuple(next(annotated) for _ in group.trajectories)) for group in groups]


def with_columns(trajectories: Sequence[Trajectory], columns: Sequence[Columns]) -> list[Trajectory]:
    """The same attempts with these columns."""
    return [replace(trajectory, **found) for trajectory, found in zip(trajectories, columns, strict=True)]


def score_all(
    trajectories: Sequence[Trajectory], max_tokens: int, score: Callable[[Sequence[Sample]], list[tuple[float, ...]]]
) -> list[tuple[float, ...]]:
    """Log-probs of every attempt, in order, aligned with `token_ids`; `score` is called on one micro-batch after another."""
    parts = scoring_parts(trajectories, max_tokens)
    return in_order(parts, [score(part) for part in parts])


def scoring_parts(trajectories: Sequence[Trajectory], max_tokens: int) -> list[list[Sample]]:
    """Attempts in micro-batches: the unit that gives the same bits whoever computes it."""
    samples = [Sample(trajectory=trajectory, unit=str(index)) for index, trajectory in enumerate(trajectories)]
    return list(split(samples, max_tokens))


def in_order(parts: Sequence[Sequence[Sample]], rows: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of `scoring_parts` in the order of the attempts."""
    pairs = [pair for part, found in zip(parts, rows, strict=True) for pair in zip(part, found, strict=True)]
    return [row for _, row in sorted(pairs, key=lambda pair: int(pair[0].unit))]


def score_part(
    forward: Callable[[Batch], PolicyOutput], part: Sequence[Sample], *, pad_id: int, device: torch.device
) -> list[tuple[float, ...]]:
    """Log-prob of every sampled token of a micro-batch, aligned with `token_ids`; 0 where nothing was sampled.

    A single row is run twice: alone it would take another matrix kernel and give other bits.
    """
    rows = [*part, *part] if len(part) == 1 else part
    batch = collate(rows, pad_id=pad_id, sources=("",), columns=()).to(device)
    values = forward(batch).logprobs.double().tolist()
    return [tuple(row[: len(sample.trajectory.token_ids)]) for sample, row in zip(part, values, strict=False)]
