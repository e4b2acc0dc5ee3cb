"""The loop. One for all methods: offline and online differ in the source, local and cluster in what stands behind the protocols.

source.next ──► groups ──► algorithm.samples ──► learner.step
     ▲                                                │
     └──────────── source.refresh ◄── learner.publish ◄┘
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rl_distill.algorithms.base import Algorithm, Need
from rl_distill.learning.learner import Learner
from rl_distill.learning.scorer import Scorer
from rl_distill.training.sources import Source
from rl_distill.trajectory import Group, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a stage has come and what it has cost; evaluation and checkpoints are not counted."""

    step: int = 0
    generated_tokens: int = 0
    trained_tokens: int = 0  # tokens with loss, counted once for each time they are trained on
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a stage runs on.

    steps, max_generated_tokens: whichever is given ends the stage.
    """

    algorithm: Algorithm
    source: Source
    learner: Learner
    scorer: Scorer | None
    mini_batches: int
    steps: int | None
    max_generated_tokens: int | None

    def finished(self, progress: Progress) -> bool:
        if self.steps is not None:
            return progress.step >= self.steps
        return progress.generated_tokens >= (self.max_generated_tokens or 0)


AfterStep = Callable[[Progress, Sequence[Group], Mapping[str, float]], None]


def train(parts: Parts, progress: Progress, after_step: AfterStep) -> Progress:
    """Run a stage to its end. `after_step` gets the progress including the step, its groups and metrics; it may raise."""
    if parts.source.live:
        parts.source.refresh(parts.learner.publish(progress.step))
    while not parts.finished(progress):
        started = time.perf_counter()
        groups = parts.source.next(progress.step)
        sampled = time.perf_counter()
        samples, uninformative = credited(parts, groups)
        reports = [parts.learner.step(part).metrics for part in mini_batches(samples, parts.mini_batches)]
        trained = time.perf_counter()
        if parts.source.live:
            parts.source.refresh(parts.learner.publish(progress.step + 1))
        ended = time.perf_counter()
        metrics = {
            **_means(reports),
            **parts.source.report(),
            "group/uninformative": float(uninformative),
            "time/source": sampled - started,
            "time/train": trained - sampled,
            "time/publish": ended - trained,
            "time/step": ended - started,
        }
        progress = replace(
            progress,
            step=progress.step + 1,
            generated_tokens=progress.generated_tokens + parts.source.generated_tokens,
            trained_tokens=progress.trained_tokens + sum(sample.trajectory.num_sampled for sample in samples),
            seconds=progress.seconds + ended - started,
        )
        after_step(progress, groups, metrics)
    return progress


def credited(parts: Parts, groups: Sequence[Group]) -> tuple[list[Sample], int]:
    """The step's samples with the columns that the algorithm needs, and how many groups gave none.

    Units get the group's place, so that no two groups share one.
    """
    needs = parts.algorithm.needs
    if Need.REFERENCE_CREDIT in needs and parts.scorer:
        groups = parts.scorer.annotate_groups(groups)
    by_group = [parts.algorithm.samples(group) for group in groups]
    samples = [
        replace(sample, unit=f"{place}/{sample.unit}") if sample.unit else sample
        for place, members in enumerate(by_group)
        for sample in members
    ]
    if Need.REFERENCE_LOGPROBS in needs and parts.scorer and samples:
        samples = _with_trajectories(samples, parts.scorer.annotate([sample.trajectory for sample in samples]))
    if Need.PROXIMAL_LOGPROBS in needs and parts.mini_batches > 1 and samples:
        columns = parts.learner.logprobs([sample.trajectory for sample in samples])
        trajectories = [
            replace(sample.trajectory, proximal_logprobs=column) for sample, column in zip(samples, columns, strict=True)
        ]
        samples = _with_trajectories(samples, trajectories)
    return parts.algorithm.finish(samples), by_group.count([])


def mini_batches(samples: Sequence[Sample], count: int) -> list[list[Sample]]:
    """Cut a round's samples into at most `count` parts of about equally many units, whole and in order; [] of nothing."""
    units: dict[object, list[Sample]] = {}
    for index, sample in enumerate(samples):
        units.setdefault(sample.unit or index, []).append(sample)
    rows = list(units.values())
    count = min(count, len(rows))
    bounds = [len(rows) * part // count for part in range(count + 1)] if count else []
    return [[sample for unit in rows[low:high] for sample in unit] for low, high in zip(bounds, bounds[1:], strict=False)]


def _with_trajectories(samples: Sequence[Sample], trajectories: Sequence[Any]) -> list[Sample]:
    return [replace(sample, trajectory=trajectory) for sample, trajectory in zip(samples, trajectories, strict=True)]


def _means(reports: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over the optimizer steps of a round; a round that taught nothing has none and says so."""
    if not reports:
        return {"batch/sequences": 0.0}
    return {name: sum(report[name] for report in reports) / len(reports) for name in reports[0]}
