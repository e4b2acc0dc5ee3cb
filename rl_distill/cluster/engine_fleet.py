"""Engines as Ray processes, each with a whole model: shards of requests go to whoever has the least to do."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from rl_distill.cluster.direct_transfer import DirectUpdate, Receivers
from rl_distill.cluster.engine_worker import EngineWorker
from rl_distill.cluster.placement import Place
from rl_distill.cluster.process_setup import runtime_env
from rl_distill.cluster.session import answers
from rl_distill.cluster.settings import RayCluster
from rl_distill.cluster.weight_store import stored
from rl_distill.errors import RunError
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import Request, ShardResult, check_digests, shards
from rl_distill.rollout.vllm_config import VllmEngineConfig
from rl_distill.trajectory import Trajectory

LAST_WORDS_SECONDS = 10.0  # for learner ranks to hear that a transfer failed
MAX_OUTSTANDING = 2  # shards of a worker, one being sampled and one waiting: it need not wait for the driver


@dataclass(slots=True)
class _Worker:
    actor: Any
    number: int
    outstanding: dict[Any, int] = field(default_factory=dict)  # reference -> ticket


class EngineFleet:
    """See `rollout.engine.StreamingEngine`. A shard's result does not depend on the worker it goes to."""

    def __init__(
        self, student: str, tokenizer: Any, config: Any, settings: RayCluster, place: Callable[[int], Place], *, name: str
    ) -> None:
        self.shard_size, self.settings = config.shard_size, settings
        places = settings.engine
        self._devices = config.tensor_parallel if isinstance(config, VllmEngineConfig) else 1
        actor = ray.remote(concurrency_groups={"control": 1, "transfer": 1})(EngineWorker)
        self._workers = [
            _Worker(
                actor.options(runtime_env=runtime_env(threads=places.threads), **place(number)).remote(
                    student, tokenizer, config, name, number, places.threads
                ),
                number,
            )
            for number in range(places.workers)
        ]
        versions = self._all("engine start", lambda worker: worker.actor.ready.remote())
        self.version = versions[0]
        self._waiting: deque[tuple[int, Sequence[Request]]] = deque()
        self._finished: dict[int, ShardResult | None] = {}
        self._next_ticket = 0
        self._ended = False

    @property
    def num_workers(self) -> int:
        return len(self._workers)

    def generate(self, requests: Sequence[Request]) -> list[Trajectory]:
        tickets = [self.submit(shard) for shard in shards(requests, self.shard_size)]
        return [attempt for ticket in tickets for attempt in self.collect(ticket).trajectories]

    def submit(self, shard: Sequence[Request], *, ahead: bool = False) -> int:
        ticket = self._next_ticket
        self._next_ticket += 1
        self._waiting.append((ticket, shard))
        self._dispatch(at_once=ahead)
        return ticket

    def collect(self, ticket: int) -> ShardResult:
        """Wait for a shard.

        Raises:
            RunError: a worker died or did not answer in time.
        """
        while ticket not in self._finished:
            self._gather(ticket)
        result = self._finished.pop(ticket)
        assert result is not None, "abandoned shards are forgotten"
        return result

    def finished(self, ticket: int) -> bool:
        """Whether a shard could be collected at once."""
        refs = [ref for worker in self._workers for ref in worker.outstanding]
        if refs:
            for ref in ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
                self._take(ref)
            self._dispatch()
        return ticket in self._finished

    def load_weights(self, update: WeightUpdate) -> Mapping[str, str]:
        if isinstance(update, DirectUpdate):
            answered = self._taken_over(update)
        else:
            travelling = ray.put(stored(update))
            load = lambda worker: worker.actor.load_weights.options(concurrency_group="control").remote(travelling)  # noqa: E731
            answered = self._all(f"loading version {update.version}", load)
        for worker, held in zip(self._workers, answered, strict=True):
            check_digests(update, held, f"engine worker {worker.number}")
        self.version = update.version
        return update.digests

    def canaries(self, request: Request) -> list[Trajectory]:
        results = self._all("canary", lambda worker: worker.actor.sample.remote([request]))
        return [result.trajectories[0] for result in results]

    def abandon(self) -> None:
        """Give up all shards that nobody has collected, and wait until the workers are free."""
        self._waiting.clear()
        if self._ended:
            return
        for abandoned in (True, False):
            flag = lambda worker: worker.actor.abandon.options(concurrency_group="control").remote(abandoned)  # noqa: B023, E731
            self._all("abandoning shards", flag)
            refs = [ref for worker in self._workers for ref in worker.outstanding]
            self._ask("abandoning shards", refs)
            for worker in self._workers:
                worker.outstanding.clear()
        self._finished.clear()

    def close(self) -> None:
        self._ended = True
        for worker in self._workers:
            ray.kill(worker.actor)

    def _taken_over(self, update: DirectUpdate) -> list[Mapping[str, str]]:
        """Have the learner's ranks send and all workers take; whoever fails first is heard, for the others may wait for ever.

        Raises:
            RunError: it failed. Workers have been ended then, and the ranks too if they cannot be reached any more.
        """
        receivers = Receivers(tuple(worker.actor for worker in self._workers), self._devices, self.settings.patience_seconds)
        sending = list(update.send(receivers))
        taking = [
            worker.actor.take_weights.options(concurrency_group="control").remote(update.version) for worker in self._workers
        ]
        try:
            *held, sent = self._ask(f"sending version {update.version}", [*taking, *sending])[: len(taking) + 1]
        except Exception as error:
            self.close()
            if ray.wait(sending, num_returns=len(sending), timeout=LAST_WORDS_SECONDS)[1]:
                update.end()
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise RunError(
                f"weights of version {update.version} did not get from learner to engines by {update.transport} ({reason}); what "
                "connects them cannot be used again, so the run ends here: the same command continues it"
            ) from error
        update.digests.update(sent)
        return held

    def _dispatch(self, *, at_once: bool = False) -> None:
        """Hand out what waits: to workers as they get free, or all of it now, since nobody will be here when they are."""
        while self._waiting:
            worker = min(self._workers, key=lambda worker: len(worker.outstanding))
            if len(worker.outstanding) >= MAX_OUTSTANDING and not at_once:
                return
            ticket, shard = self._waiting.popleft()
            worker.outstanding[worker.actor.sample.remote(shard)] = ticket

    def _gather(self, ticket: int) -> None:
        """Wait for whichever shard is finished first."""
        refs = [ref for worker in self._workers for ref in worker.outstanding]
        if not any(ticket in worker.outstanding.values() for worker in self._workers) and ticket not in dict(self._waiting):
            raise RunError(f"shard {ticket} was abandoned, or collected before")
        done, _ = ray.wait(refs, num_returns=1, timeout=self.settings.patience_seconds)
        if not done:
            raise RunError(
                f"sampling: no shard was finished within {self.settings.patience_seconds:g} s (cluster.patience_seconds); "
                f"shard {ticket} is waited for"
            )
        for ref in done:
            self._take(ref)
        self._dispatch()

    def _take(self, ref: Any) -> None:
        worker = next(worker for worker in self._workers if ref in worker.outstanding)
        ticket = worker.outstanding.pop(ref)
        (self._finished[ticket],) = self._ask(f"engine worker {worker.number}", [ref])

    def _all(self, what: str, ask: Callable[[_Worker], Any]) -> list[Any]:
        return self._ask(what, [ask(worker) for worker in self._workers])

    def _ask(self, what: str, refs: Sequence[Any]) -> list[Any]:
        return answers(refs, seconds=self.settings.patience_seconds, what=what)
