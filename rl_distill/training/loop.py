"""The loop. One for all methods: offline and online differ in the source, local and cluster in what stands behind the protocols.

source.next ──► groups ──► algorithm.samples ──► learner.step
     ▲                                                │
     └──────────── source.refresh ◄── learner.publish ◄┘
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rl_distill.algorithms.base import REFERENCE_NEEDS, Need
from rl_distill.learning.learner import Learner
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.scorer import Scorer, annotate_groups
from rl_distill.learning.step_plan import parted
from rl_distill.tracking.metric_names import explain
from rl_distill.training.sources import Source
from rl_distill.training.weight_sync import WeightSync
from rl_distill.training.work_counts import WorkCounts, added, row_work
from rl_distill.trajectory import Group, Sample, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a stage has come and what it has cost; evaluation and checkpoints are not counted.

    `work["steps"]` is `step`, unless an earlier version of this package, which did not count, made some of them.
    """

    step: int = 0
    generated_tokens: int = 0
    trained_tokens: int = 0  # tokens with loss, counted once for each time they are trained on
    seconds: float = 0.0
    work: WorkCounts = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Ends a stage after the step with which an amount of its progress reaches `most`."""

    amount: Callable[[Progress], float]
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A term of the loss with the source that its samples come from, and who writes the columns that it needs."""

    term: LossTerm
    source: Source
    reference: Scorer | None
    teacher: Scorer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a stage runs on.

    feeds         the stage's own objective first, then those beside it
    sync          brings weights to the engine; None where nothing samples from the student
    steps, limit  whichever is given ends the stage
    """

    feeds: tuple[Feed, ...]
    learner: Learner
    sync: WeightSync | None
    mini_batches: int
    steps: int | None
    limit: Limit | None

    def refresh(self, version: int) -> dict[str, float]:
        """Bring the learner's weights to the engine, and tell the sources that sample with them; returns metrics."""
        if self.sync is None:
            return {}
        metrics = self.sync.bring(version)
        for feed in self.feeds:
            feed.source.refresh(version)
        return metrics

    def finished(self, progress: Progress) -> bool:
        if self.steps is not None:
            return progress.step >= self.steps
        return self.limit is None or self.limit.amount(progress) >= self.limit.most


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What an algorithm made of the groups of one source.

    groups      as it read them, with the columns that its credit needed
    samples     what is trained on
    advantages  of each attempt of each group; None of one that was not trained on, or is a lesson
    metrics     of how the samples came by their credit
    scored      work of those who said something about the attempts
    """

    groups: Sequence[Group]
    samples: Sequence[Sample]
    advantages: Sequence[Sequence[float | None]]
    metrics: Mapping[str, float]
    scored: WorkCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one round of the loop did: the credit of each source by its name, and the metrics."""

    credit: Mapping[str, Credit]
    metrics: Mapping[str, float]


AfterStep = Callable[[Progress, Step], None]


def train(parts: Parts, progress: Progress, after_step: AfterStep) -> Progress:
    """Run a stage to its end. `after_step` gets the progress including the step, and the step; it may raise."""
    begun = parts.refresh(progress.step)
    looked = {} if progress.step else begun  # told with the stage's first step, and not again where a run goes on
    while not parts.finished(progress):
        started = time.perf_counter()
        groups = {feed.term.source: feed.source.next(progress.step) for feed in parts.feeds}
        sampled = time.perf_counter()
        credit = {feed.term.source: _credited(feed, groups[feed.term.source], parts) for feed in parts.feeds}
        annotated = time.perf_counter()
        samples = [sample for share in credit.values() for sample in share.samples]
        rounds = _mini_batches_of_all([share.samples for share in credit.values()], parts.mini_batches)
        first = progress.step * parts.mini_batches  # a round with nothing to train on moves the schedule all the same
        reports = [parts.learner.step(part, schedule_step=first + place).metrics for place, part in enumerate(rounds)]
        trained = time.perf_counter()
        synced = parts.refresh(progress.step + 1)
        ended = time.perf_counter()
        metrics = looked | _means(reports) | synced
        looked = {}
        for feed in parts.feeds:
            facts = {**feed.source.report(), **credit[feed.term.source].metrics}
            if feed.teacher:
                scored = sum(len(sample.trajectory.token_ids) for sample in credit[feed.term.source].samples)
                facts["distillation/teacher_tokens"] = float(scored)
            metrics |= {feed.term.path(name): value for name, value in facts.items()}
        metrics |= {
            "time/source": sampled - started,
            "time/credit": annotated - sampled,
            "time/train": trained - annotated,
            "time/sync": ended - trained,
            "time/step": ended - started,
        }
        progress = replace(
            progress,
            step=progress.step + 1,
            generated_tokens=progress.generated_tokens + sum(feed.source.generated_tokens for feed in parts.feeds),
            trained_tokens=progress.trained_tokens + sum(sample.trajectory.num_sampled for sample in samples),
            seconds=progress.seconds + ended - started,
            work=added([progress.work, _work(parts, credit)]),
        )
        after_step(progress, Step(credit=credit, metrics=metrics))
    return progress


def _work(parts: Parts, credit: Mapping[str, Credit]) -> WorkCounts:
    """Of one step."""
    sampled = [feed.source.work for feed in parts.feeds]
    scored = [share.scored for share in credit.values()]
    trained = [
        row_work(how, [sample.trajectory for sample in part])
        for feed in parts.feeds
        for how, part in zip(("training", "still"), parted(feed.term.algorithm, credit[feed.term.source].samples), strict=True)
    ]
    return added([{"steps": 1}, *sampled, *scored, *trained])


def _credited(feed: Feed, groups: Sequence[Group], parts: Parts) -> Credit:
    scorers = {"reference": feed.reference, "teacher": feed.teacher}
    return credited(feed.term, groups, learner=parts.learner, mini_batches=parts.mini_batches, **scorers)


def credited(
    term: LossTerm,
    groups: Sequence[Group],
    *,
    reference: Scorer | None,
    teacher: Scorer | None,
    learner: Learner,
    mini_batches: int,
) -> Credit:
    """The step's samples of one source with the columns that its algorithm needs.

    Units get the group's place, so that no two groups share one.
    """
    algorithm, source = term.algorithm, term.source
    scored: list[WorkCounts] = []
    if Need.REFERENCE_CREDIT in algorithm.needs and reference:
        groups = annotate_groups(reference, groups)
        scored.append(row_work("reference", [attempt for group in groups for attempt in group.trajectories]))
    by_group = [algorithm.samples(group) for group in groups]
    samples = [
        replace(sample, source=source, unit=f"{source}/{place}/{sample.unit}" if sample.unit else "")
        for place, members in enumerate(by_group)
        for sample in members
    ]
    if algorithm.needs & REFERENCE_NEEDS == {Need.REFERENCE_LOGPROBS} and reference and samples:
        samples = _with_trajectories(samples, reference.annotate([sample.trajectory for sample in samples]))
        scored.append(row_work("reference", [sample.trajectory for sample in samples]))
    if teacher and samples:
        samples = _with_trajectories(samples, teacher.annotate([sample.trajectory for sample in samples]))
        scored.append(row_work("teacher", [sample.trajectory for sample in samples]))
    if Need.PROXIMAL_LOGPROBS in algorithm.needs and mini_batches > 1 and samples:
        trajectories = [sample.trajectory for sample in samples]
        columns = learner.logprobs(trajectories, temperature=term.temperature)
        proximal = [replace(one, proximal_logprobs=column) for one, column in zip(trajectories, columns, strict=True)]
        samples = _with_trajectories(samples, proximal)
        scored.append(row_work("proximal", trajectories))
    finished = algorithm.finish(samples)
    return Credit(
        groups=groups,
        samples=finished,
        advantages=_advantages(groups, by_group, finished),
        metrics=algorithm.group_metrics(groups) | {"group/uninformative": float(by_group.count([]))},
        scored=added(scored),
    )


def _advantages(
    groups: Sequence[Group], by_group: Sequence[Sequence[Sample]], finished: Sequence[Sample]
) -> list[list[float | None]]:
    """Each attempt's final credit. `finished` are the samples of `by_group` in their order; those still hold the attempts."""
    given = (sample for members in by_group for sample in members)
    final = {id(one.trajectory): last.advantage for one, last in zip(given, finished, strict=True) if not last.lesson}
    return [[final.get(id(attempt)) for attempt in group.trajectories] for group in groups]


def mini_batches(samples: Sequence[Sample], count: int) -> list[list[Sample]]:
    """Cut a round's samples into at most `count` parts of about equally many units, whole and in order; [] of nothing."""
    units: dict[object, list[Sample]] = {}
    for index, sample in enumerate(samples):
        units.setdefault(sample.unit or index, []).append(sample)
    rows = list(units.values())
    count = min(count, len(rows))
    bounds = [len(rows) * part // count for part in range(count + 1)] if count else []
    return [[sample for unit in rows[low:high] for sample in unit] for low, high in zip(bounds, bounds[1:], strict=False)]


def _mini_batches_of_all(shares: Sequence[Sequence[Sample]], count: int) -> list[list[Sample]]:
    """The n-th part of every source together."""
    cut = [mini_batches(share, count) for share in shares]
    return [
        [sample for parts in cut for sample in (parts[place] if place < len(parts) else [])]
        for place in range(max(map(len, cut), default=0))
    ]


def _with_trajectories(samples: Sequence[Sample], trajectories: Sequence[Trajectory]) -> list[Sample]:
    return [replace(sample, trajectory=trajectory) for sample, trajectory in zip(samples, trajectories, strict=True)]


def _means(reports: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Counts add up over the optimizer steps of a round, other metrics are means over those that have them.

    A round that taught nothing has none and says so.
    """
    if not reports:
        return {"batch/sequences": 0.0}
    found: dict[str, list[float]] = {}
    for report in reports:
        for name, value in report.items():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / (1 if _is_count(name) else len(values)) for name, values in found.items()}


def _is_count(path: str) -> bool:
    metric = explain(path)
    return metric is not None and metric.unit in ("count", "tokens")
