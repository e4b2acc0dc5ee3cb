"""What one process of a learner does with its share of a step, however the model is held. It does not know the algorithm."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rl_distill.batch import Batch, Candidates, PolicyOutput
from rl_distill.learning.learner import LearnerConfig, StepReport
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.micro_steps import accumulate, term_metrics
from rl_distill.learning.schedule import rate_fraction
from rl_distill.learning.scorer import score_part
from rl_distill.learning.step_norms import GradientShares
from rl_distill.learning.step_plan import TermShare
from rl_distill.trajectory import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReport:
    """Of one process: sums by source, which add up over processes, and facts about the whole step, the same in each."""

    sums: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, float]


class LearnerProcess(ABC):
    """AdamW with a schedule on a model that this process holds whole or a shard of.

    Args:
        terms: the loss: the stage's own algorithm first, then those beside it.
        total_steps: optimizer steps of the stage, or None where a token budget ends it.
    """

    device: torch.device

    def __init__(self, tokenizer: Any, terms: Sequence[LossTerm], config: LearnerConfig, total_steps: int | None) -> None:
        self.tokenizer, self.config, self.terms = tokenizer, config, tuple(terms)
        self.total_steps, self.steps_done = total_steps, 0
        self._rate_fraction()  # a schedule that cannot be computed fails here, not at the first step

    def step_share(self, shares: Sequence[TermShare], *, schedule_step: int | None = None) -> ProcessReport:
        """This process's part of one optimizer step; every process of the learner makes it at once."""
        rate = self.config.learning_rate * self._rate_fraction(schedule_step)
        sums, gradient = self.accumulate(shares)
        loss = math.fsum(share.term.weight * sums[share.term.source].get("loss", 0.0) for share in shares)
        facts = self._update(rate, loss)
        return ProcessReport(
            sums=sums, facts={**facts, **gradient.metrics(facts["gradient/norm"]), "learner/learning_rate": rate}
        )

    def accumulate(self, shares: Sequence[TermShare]) -> tuple[dict[str, dict[str, float]], GradientShares]:
        """The step's gradient, in the parameters; this process's sums by source, and what each source adds."""
        gradient = self._gradient_shares()
        self._begin_step(sum(share.passes for share in shares))
        sums = {}
        for share in shares:
            sums[share.term.source] = accumulate(
                share,
                partial(self._forward, temperature=share.term.temperature, candidates=share.term.algorithm.candidates),
                pad_id=self.tokenizer.pad_token_id,
                max_tokens=self.config.micro_batch_tokens,
                device=self.device,
                backward=self._backward,
            )
            gradient.mark(share.term.label)
        return sums, gradient

    def score(self, part: Sequence[Sample], temperature: float) -> list[tuple[float, ...]]:
        """Log-probs of the sampled tokens of a micro-batch; see `scorer.scoring_parts`."""
        with torch.no_grad():
            return score_part(
                partial(self._forward, temperature=temperature), part, pad_id=self.tokenizer.pad_token_id, device=self.device
            )

    @abstractmethod
    def weights(self, max_bytes: int, *, copy: bool = False) -> Iterator[dict[str, Tensor]]:
        """What engines get, in buckets of at most so many bytes, or of one tensor. Every process goes through all of them.

        Args:
            copy: they outlast the bucket's turn, and the learner's next step.
        """

    @abstractmethod
    def _begin_step(self, passes: int) -> None:
        """A step of so many backward passes begins."""

    @abstractmethod
    def _forward(self, batch: Batch, temperature: float, candidates: Candidates | None = None) -> PolicyOutput:
        """What the model says about a batch, at a teacher's candidates too if there are any."""

    @abstractmethod
    def _backward(self, loss: Tensor) -> None: ...

    @abstractmethod
    def _gradient_shares(self) -> GradientShares: ...

    @abstractmethod
    def _update(self, rate: float, loss: float) -> dict[str, float]:
        """Clip and change the weights, unless this process's loss or the gradient is not finite; facts about it."""

    def _rate_fraction(self, step: int | None = None) -> float:
        warmup = self.config.warmup_steps
        if warmup is None:
            warmup = round(self.config.warmup_fraction * (self.total_steps or 0))
        return rate_fraction(
            self.steps_done if step is None else step,
            schedule=self.config.schedule,
            warmup_steps=warmup,
            total_steps=self.total_steps,
            floor=self.config.floor_fraction,
        )


def step_report(shares: Sequence[TermShare], reports: Sequence[ProcessReport]) -> StepReport:
    """One step's metrics from the reports of all its processes; `shares` are those of any of them."""
    metrics: dict[str, float] = {}
    loss = 0.0
    for share in shares:
        found = term_metrics(share, [report.sums[share.term.source] for report in reports])
        loss += share.term.weight * found["loss"]
        metrics |= {share.term.path(name): value for name, value in found.items()}
    return StepReport(metrics={**metrics, "loss": loss, **reports[0].facts})


def parameter_groups(trained: Sequence[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: matrices are decayed, biases and norms are not."""
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def buckets(sizes: Mapping[str, int], max_bytes: int) -> Iterator[list[str]]:
    """Names in order, as many at a time as fit."""
    current: list[str] = []
    used = 0
    for name, size in sizes.items():
        if current and used + size > max_bytes:
            yield current
            current, used = [], 0
        current.append(name)
        used += size
    if current:
        yield current
