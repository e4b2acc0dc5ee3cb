"""Rounds of sampling on their way through the engine: which may start, in which order they are taken, what the schedule was."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rl_distill.rollout.collector import Prompt
from rl_distill.rollout.engine import Request, Sampling, ShardResult, answered, shards
from rl_distill.rollout.staleness import admits
from rl_distill.training.cursor import Cursor
from rl_distill.training.work_counts import WorkCounts, added, sampling_work
from rl_distill.trajectory import Group, Trajectory


class Sampler(Protocol):
    """What samples shards, in this process or while others work; see `rollout.engine.StreamingEngine`."""

    shard_size: int

    @property
    def num_workers(self) -> int: ...

    def submit(self, shard: Sequence[Request], *, ahead: bool = False) -> int: ...

    def collect(self, ticket: int) -> ShardResult: ...

    def finished(self, ticket: int) -> bool: ...

    def abandon(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Problems that are sampled together.

    number   0 for a step's own round, above it for those that replace groups which teach nothing
    places   where the cursor stood for each problem
    shards   (requests, ticket)
    version  updates that had been made when it was submitted
    """

    step: int
    number: int
    places: Sequence[int]
    prompts: Sequence[Prompt]
    shards: Sequence[tuple[Sequence[Request], int]]
    version: int


class ShardCollector:
    """Collects shards, and keeps a record of it until it is told to forget.

    schedule          a line for each shard
    busy_seconds      of the engine's workers
    generated_tokens  that the engine sampled
    work              that this was
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.forget()

    def forget(self) -> None:
        """Begin the record anew."""
        self.schedule: list[dict[str, Any]] = []
        self.busy_seconds, self.generated_tokens = 0.0, 0
        self.work: WorkCounts = {}

    def collect(
        self, parts: Sequence[tuple[Sequence[Request], int]], *, step: int, number: int, version: int
    ) -> list[Trajectory]:
        """The attempts of a round, in the order of their requests.

        Args:
            parts: (requests, ticket) of each shard.
            number, version: as in `Round`.

        Raises:
            RunError: a request was not answered.
        """
        attempts: list[Trajectory] = []
        for place, (requests, ticket) in enumerate(parts):
            result = self.sampler.collect(ticket)
            sampled = answered(requests, result.trajectories)
            attempts += sampled
            self.work = added([self.work, sampling_work(sampled)])
            self.busy_seconds += result.seconds
            self.schedule.append(
                {
                    "step": step,
                    "round": number,
                    "shard": place,
                    "submitted": version,
                    "worker": result.worker,
                    "swaps": [list(swap) for swap in result.swaps],
                    "requests": [[request.problem_id, request.seed] for request in requests],
                }
            )
        self.generated_tokens += sum(attempt.num_sampled for attempt in attempts)
        return attempts


class Rounds(ShardCollector):
    """The rounds of one stage, submitted as far ahead as is admitted and taken in the order of their steps.

    So each holds the problems and the seeds that it would hold without running ahead (refills draw what comes after the rounds
    under way), and none is trained on more than `max_staleness` updates after it was submitted: what changes is the weights that
    it is sampled with.

    Args:
        address: run seed and stage name; with step, epoch, sample and problem the address of every attempt's seed.
        steps: of the stage, or None where a token budget ends it.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        sampler: Sampler,
        sampling: Sampling,
        *,
        address: tuple[int, str],
        cursor: Cursor,
        size: int,
        group_size: int,
        max_staleness: int,
        steps: int | None,
    ) -> None:
        super().__init__(sampler)
        self.prompts, self.sampling, self.address, self.cursor = prompts, sampling, address, cursor
        self.size, self.group_size, self.max_staleness, self.steps = size, group_size, max_staleness, steps
        self._ahead: deque[Round] = deque()
        self._again: deque[Sequence[int]] = deque()  # rounds that were under way when the run stopped
        self._next_step = 0

    def submit_ahead(self, version: int) -> None:
        """Submit the rounds that may start now that so many updates have been made."""
        while self._may_start(version):
            places = self._again.popleft() if self._again else self._draw(self.size)
            self._ahead.append(self._submitted(self._next_step, 0, places, version))
            self._next_step += 1

    def take(self, step: int) -> list[Group]:
        """The groups of a step, unscored."""
        self.submit_ahead(step)
        return self._collected(self._ahead.popleft())

    def refill(self, step: int, number: int, count: int) -> list[Group]:
        """So many further groups for a step; they wait behind what is under way already."""
        return self._collected(self._submitted(step, number, self._draw(count), step))

    def ready(self) -> int:
        """Groups that are sampled and wait for their step."""
        return sum(
            len(waiting.prompts) for waiting in self._ahead if all(self.sampler.finished(ticket) for _, ticket in waiting.shards)
        )

    def report(self) -> dict[str, float]:
        """Metrics of the step's rounds beside those of its attempts."""
        return {}

    def state(self) -> dict[str, Any]:
        ahead = [list(waiting.places) for waiting in self._ahead] + [list(places) for places in self._again]
        return {"taken": self.cursor.taken, "ahead": ahead, "step": self._next_step - len(self._ahead)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.cursor.taken = state["taken"]
        self._again, self._next_step = deque(state["ahead"]), state["step"]

    def _may_start(self, version: int) -> bool:
        if self.steps is not None and self._next_step >= self.steps:
            return False
        submitted = (self._next_step + 1) * self.size
        return admits(submitted, batch_size=self.size, version=version, max_lag=self.max_staleness)

    def _draw(self, count: int) -> list[int]:
        return [self.cursor.take() for _ in range(count)]

    def _submitted(self, step: int, number: int, places: Sequence[int], version: int) -> Round:
        drawn = [self.cursor.at(place) for place in places]
        prompts = [self.prompts[index] for _, index in drawn]
        requests = [
            prompt.request(self.sampling, *self.address, step, epoch, sample)
            for (epoch, _), prompt in zip(drawn, prompts, strict=True)
            for sample in range(self.group_size)
        ]
        ahead = self.max_staleness > 0
        parts = [(shard, self.sampler.submit(shard, ahead=ahead)) for shard in shards(requests, self.sampler.shard_size)]
        return Round(step=step, number=number, places=places, prompts=prompts, shards=parts, version=version)

    def _collected(self, taken: Round) -> list[Group]:
        attempts = self.collect(taken.shards, step=taken.step, number=taken.number, version=taken.version)
        size = self.group_size
        return [
            Group(problem=prompt.problem, trajectories=tuple(attempts[place * size : (place + 1) * size]))
            for place, prompt in enumerate(taken.prompts)
        ]
