"""Log-probs that a model gives to attempts at what is in them: the reference of DPO and of KL terms, and the learner's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch

from rl_distill.batch import Batch, PolicyOutput, collate
from rl_distill.learning.precision import Precision, autocast
from rl_distill.learning.step_plan import split
from rl_distill.models.logprobs import policy_output
from rl_distill.trajectory import Group, Sample, Trajectory


class Scorer(Protocol):
    """Writes a frozen model's log-probs beside the tokens of attempts, wherever that model lives."""

    def annotate(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """The same attempts with `reference_logprobs`."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerConfig:
    """How a scorer computes: as the learner does, so that the same weights give the same log-probs."""

    pad_id: int
    temperature: float
    max_tokens: int
    chunk_tokens: int
    precision: Precision


class ModelScorer:
    """A scorer with the model in this process."""

    def __init__(self, model: Any, config: ScorerConfig) -> None:
        self.model, self.config = model.eval().requires_grad_(False), config

    def annotate(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        return with_reference(trajectories, sampled_logprobs(self.model, trajectories, self.config))

    def score(self, part: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Log-probs of the attempts of one micro-batch."""
        return _score(self.model, self.config, part)

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
    """Every attempt of every group with its reference log-probs."""
    annotated = iter(scorer.annotate([trajectory for group in groups for trajectory in group.trajectories]))
    return [replace(group, trajectories=tuple(next(annotated) for _ in group.trajectories)) for group in groups]


def with_reference(trajectories: Sequence[Trajectory], columns: Sequence[tuple[float, ...]]) -> list[Trajectory]:
    """The same attempts with these columns as `reference_logprobs`."""
    return [replace(trajectory, reference_logprobs=column) for trajectory, column in zip(trajectories, columns, strict=True)]


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


def in_order(parts: Sequence[Sequence[Sample]], rows: Sequence[Sequence[tuple[float, ...]]]) -> list[tuple[float, ...]]:
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
