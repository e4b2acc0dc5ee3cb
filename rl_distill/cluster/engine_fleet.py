"""Engines as Ray processes, each with a whole model: shards of requests go to whoever has the least to do."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import ray

from rl_distill.cluster.crew import Crew, Worker
from rl_distill.cluster.direct_transfer import DirectUpdate, Receivers
from rl_distill.cluster.engine_worker import EngineWorker
from rl_distill.cluster.pool import Pool, Preparation
from rl_distill.cluster.session import answers
from rl_distill.cluster.weight_store import stored
from rl_distill.errors import WorkerLost
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import Request, ShardResult, check_digests, shards
from rl_distill.rollout.vllm_config import VllmEngineConfig
from rl_distill.trajectory import Trajectory

LAST_WORDS_SECONDS = 10.0  # for learner ranks to hear that a transfer failed
LANES = ("control", "transfer")  # what is served while a shard is decoded


class EngineFleet:
    """See `rollout.engine.StreamingEngine`. A shard's result does not depend on the worker it goes to.

    A worker that is lost is replaced by one with the weights of the others, and its shards are sampled again.
    """

    def __init__(self, student: str, tokenizer: Any, config: Any, crew: Crew, *, name: str) -> None:
        self.shard_size, self.crew = config.shard_size, crew
        self._devices = config.tensor_parallel if isinstance(config, VllmEngineConfig) else 1
        self._held: list[tuple[WeightUpdate, Any]] = []  # with references: what a fresh worker loads to be like the others
        threads = crew.settings.engine.threads

        def start(number: int) -> Worker:
            arguments = (student, tokenizer, config, name, number, threads)
            return crew.start(EngineWorker, "engine", number, *arguments, threads=threads, lanes=LANES)

        self.pool = Pool(crew, "engine", crew.settings.engine.workers, start=start, prepare=self._prepared)
        self.version = 0

    @property
    def num_workers(self) -> int:
        return len(self.pool.workers)

    @property
    def ended(self) -> bool:
        """Whether its workers are gone for good."""
        return self.pool.ended

    def generate(self, requests: Sequence[Request]) -> list[Trajectory]:
        tickets = [self.submit(shard) for shard in shards(requests, self.shard_size)]
        return [attempt for ticket in tickets for attempt in self.collect(ticket).trajectories]

    def submit(self, shard: Sequence[Request], *, ahead: bool = False) -> int:
        return self.pool.submit(lambda actor: actor.sample.remote(shard), ahead=ahead)

    def submit_scripted(self, shard: Sequence[Request], swaps: Sequence[tuple[int, WeightUpdate]]) -> int:
        """See `rollout.scripted.ScriptedSampling`."""
        return self.pool.submit(lambda actor: actor.sample_scripted.remote(shard, swaps))

    def collect(self, ticket: int) -> ShardResult:
        """Wait for a shard.

        Raises:
            RunError: it was abandoned, or no worker survived it.
        """
        result: ShardResult = self.pool.collect("sampling", ticket)
        return result

    def finished(self, ticket: int) -> bool:
        """Whether a shard could be collected at once."""
        return self.pool.finished(ticket)

    def load_weights(self, update: WeightUpdate) -> Mapping[str, str]:
        if isinstance(update, DirectUpdate):
            answered = self._taken_over(update)
            self._held = [(update, None)]
        else:
            self.pool.restore([_READY] if update.lora is None else self._prepared())
            travelling = ray.put(stored(update))
            answered = self.pool.all(f"loading version {update.version}", partial(_load, travelling))
            self._held = [*(self._held[:1] if update.lora else []), (update, travelling)]
        for worker, held in zip(self.pool.workers, answered, strict=True):
            _check(update, worker, held)
        self.version = update.version
        self.crew.holds(self.pool.workers, update.version)
        return update.digests

    def canaries(self, request: Request) -> list[Trajectory]:
        results = self.pool.all("canary", lambda actor: actor.sample.remote([request]))
        return [result.trajectories[0] for result in results]

    def abandon(self) -> None:
        """Give up all shards that nobody has collected, and wait until the workers are free."""
        if self.ended:
            return
        for abandoned in (True, False):
            self.pool.all("abandoning shards", partial(_abandon, abandoned))
            self.pool.abandon("abandoning shards")

    def close(self) -> None:
        self.pool.close()

    def _prepared(self) -> Sequence[Preparation]:
        """What brings a worker that has started to where the others are.

        Raises:
            WorkerLost: the weights went from device to device, and whoever was not there has missed them.
        """
        if any(travelling is None for _, travelling in self._held):
            raise WorkerLost(f"weights that were sent by {self.crew.settings.transport} cannot be given to a new engine worker")
        return [_READY, *(Preparation(partial(_load, travelling), partial(_check, update)) for update, travelling in self._held)]

    def _taken_over(self, update: DirectUpdate) -> list[Mapping[str, str]]:
        """Have the learner's ranks send and all workers take; whoever fails first is heard, for the others may wait for ever.

        Raises:
            WorkerLost: it failed. Workers have been ended then, and the ranks too if they cannot be reached any more.
        """
        actors, patience = tuple(worker.actor for worker in self.pool.workers), self.crew.settings.patience_seconds
        receivers = Receivers(actors, self._devices, patience)
        sending = list(update.send(receivers))
        taking = [actor.take_weights.options(concurrency_group="control").remote(update.version) for actor in actors]
        try:
            asked = [*taking, *sending]
            *held, sent = answers(asked, seconds=patience, what=f"sending version {update.version}")[: len(taking) + 1]
        except Exception as error:
            self.close()
            if ray.wait(sending, num_returns=len(sending), timeout=LAST_WORDS_SECONDS)[1]:
                update.end()
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise WorkerLost(
                f"weights of version {update.version} did not get from learner to engines by {update.transport} ({reason}); what "
                "connects them cannot be used again"
            ) from error
        update.digests.update(sent)
        return held


_READY = Preparation(lambda actor: actor.ready.remote())


def _load(travelling: Any, actor: Any) -> Any:
    return actor.load_weights.options(concurrency_group="control").remote(travelling)


def _check(update: WeightUpdate, worker: Worker, held: Mapping[str, str]) -> None:
    check_digests(update, held, f"engine worker {worker.number}")


def _abandon(abandoned: bool, actor: Any) -> Any:
    return actor.abandon.options(concurrency_group="control").remote(abandoned)
