"""A frozen reference or teacher as Ray processes, each with the whole model: micro-batches are scored wherever there is room."""

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

import ray

from rl_distill.cluster.crew import Crew, Worker
from rl_distill.cluster.host import MakeModel
from rl_distill.cluster.pool import Call, Pool, Preparation
from rl_distill.cluster.process_setup import set_threads
from rl_distill.cluster.worker_process import WorkerProcess
from rl_distill.learning.local_learner import torch_device
from rl_distill.learning.scorer import Columns, ModelScorer, ScorerConfig, in_order, scoring_parts, with_columns
from rl_distill.trajectory import Sample, Trajectory


class ScorerWorker(WorkerProcess):
    """A process that holds one copy of each reference and teacher of the stage that runs."""

    def __init__(self, threads: int) -> None:
        set_threads(threads)
        self.scorers: dict[int, ModelScorer] = {}

    def build(self, key: int, make_model: MakeModel, config: ScorerConfig) -> None:
        self.scorers[key] = ModelScorer(make_model().to(torch_device("auto")), config)

    def score(self, key: int, part: Sequence[Sample]) -> list[Columns]:
        return self.scorers[key].score(part)

    def release(self, key: int) -> None:
        self.scorers.pop(key, None)


class ScorerProcesses:
    """The processes that score, for all stages of a run; one that takes another's place gets the references of the stage."""

    def __init__(self, crew: Crew) -> None:
        self.keys = count()
        self.references: dict[int, Call] = {}  # builds each of those in use
        threads = crew.settings.scorer.threads

        def start(number: int) -> Worker:
            return crew.start(ScorerWorker, "scorer", number, threads, threads=threads)

        def prepared() -> Sequence[Preparation]:
            return [Preparation(build) for build in self.references.values()]

        self.pool = Pool(crew, "scorer", crew.settings.scorer.workers, start=start, prepare=prepared)

    def close(self) -> None:
        self.pool.close()


class ScorerFleet:
    """See `learning.scorer.Scorer`. The micro-batches are those of one process, so their bits are too."""

    def __init__(self, make_model: MakeModel, config: ScorerConfig, processes: ScorerProcesses) -> None:
        self.config, self.processes, self.key = config, processes, next(processes.keys)
        self.role = "reference" if config.column == "reference_logprobs" else "teacher"
        build = partial(_build, self.key, ray.put(make_model), config)
        processes.pool.all(self.role, build)
        processes.references[self.key] = build

    def annotate(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        parts, pool = scoring_parts(trajectories, self.config.max_tokens), self.processes.pool
        tickets = [pool.submit(partial(_score, self.key, part)) for part in parts]
        columns = [pool.collect(f"scoring with the {self.role}", ticket) for ticket in tickets]
        return with_columns(trajectories, in_order(parts, columns))

    def close(self) -> None:
        del self.processes.references[self.key]
        if not self.processes.pool.ended:
            self.processes.pool.all(f"{self.role} end", lambda actor: actor.release.remote(self.key))


def _build(key: int, make_model: Any, config: ScorerConfig, actor: Any) -> Any:
    return actor.build.remote(key, make_model, config)


def _score(key: int, part: Sequence[Sample], actor: Any) -> Any:
    return actor.score.remote(key, part)
