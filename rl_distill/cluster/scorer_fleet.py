"""A frozen reference as Ray processes, each with the whole model: micro-batches are scored wherever there is room."""

from collections.abc import Callable, Sequence
from itertools import count, cycle
from typing import Any

import ray

from rl_distill.cluster.host import MakeModel
from rl_distill.cluster.placement import Place
from rl_distill.cluster.process_setup import runtime_env, set_threads
from rl_distill.cluster.session import answers
from rl_distill.cluster.settings import RayCluster
from rl_distill.learning.local_learner import torch_device
from rl_distill.learning.scorer import ModelScorer, ScorerConfig, in_order, scoring_parts, with_reference
from rl_distill.trajectory import Sample, Trajectory


class ScorerWorker:
    """A process that holds one copy of each reference of the stage that runs."""

    def __init__(self, threads: int) -> None:
        set_threads(threads)
        self.scorers: dict[int, ModelScorer] = {}

    def build(self, key: int, make_model: MakeModel, config: ScorerConfig) -> None:
        self.scorers[key] = ModelScorer(make_model().to(torch_device("auto")), config)

    def score(self, key: int, part: Sequence[Sample]) -> list[tuple[float, ...]]:
        return self.scorers[key].score(part)

    def release(self, key: int) -> None:
        del self.scorers[key]


class ScorerProcesses:
    """The processes that score, for all stages of a run."""

    def __init__(self, settings: RayCluster, place: Callable[[int], Place]) -> None:
        self.settings = settings
        environment = runtime_env(threads=settings.scorer.threads)
        self.workers = [
            ray.remote(ScorerWorker).options(runtime_env=environment, **place(number)).remote(settings.scorer.threads)
            for number in range(settings.scorer.workers)
        ]
        self.keys = count()

    def ask(self, refs: Sequence[Any]) -> list[Any]:
        return answers(refs, seconds=self.settings.patience_seconds, what="scoring with the reference")

    def close(self) -> None:
        for worker in self.workers:
            ray.kill(worker)


class ScorerFleet:
    """See `learning.scorer.Scorer`. The micro-batches are those of one process, so their bits are too."""

    def __init__(self, make_model: MakeModel, config: ScorerConfig, processes: ScorerProcesses) -> None:
        self.config, self.processes, self.key = config, processes, next(processes.keys)
        shared = ray.put(make_model)
        processes.ask([worker.build.remote(self.key, shared, config) for worker in processes.workers])

    def annotate(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        parts, workers = scoring_parts(trajectories, self.config.max_tokens), cycle(self.processes.workers)
        refs = [worker.score.remote(self.key, part) for worker, part in zip(workers, parts, strict=False)]
        return with_reference(trajectories, in_order(parts, self.processes.ask(refs)))

    def close(self) -> None:
        self.processes.ask([worker.release.remote(self.key) for worker in self.processes.workers])
