"""Sampling as it was recorded: each shard with the weights that it met, swapped at the step of decoding at which they came."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from rl_distill.errors import RunError
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import Request, ShardResult, StepwiseEngine, StreamingEngine, load_checked
from rl_distill.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class RecordedShard:
    """
    together  of those that are sampled and waited for together
    swaps     (decode step, version), as in `ShardResult`
    """

    together: tuple[Any, ...]
    swaps: tuple[tuple[int, int], ...]


Script = Mapping[tuple[tuple[str, int], ...], RecordedShard]  # by problem and seed of each request of a shard


def script_of(schedule: Iterable[Mapping[str, Any]]) -> Script:
    """The lines of a run's schedule.jsonl."""
    return {
        tuple((problem, seed) for problem, seed in line["requests"]): RecordedShard(
            together=(line["stage"], line.get("beside"), line["step"], line["round"]),
            swaps=tuple((step, version) for step, version in line["swaps"]),
        )
        for line in schedule
    }


def sample_as_scripted(
    engine: StepwiseEngine, requests: Sequence[Request], swaps: Sequence[tuple[int, WeightUpdate]]
) -> list[Trajectory]:
    """Sample with the first weights from the start on, and with each of the others from its step of decoding on."""
    (_, first), *later = swaps
    if engine.version != first.version:
        load_checked(engine, first)
    before, coming, step = engine.before_step, deque(later), 0

    def swap() -> None:
        nonlocal step
        if coming and coming[0][0] == step:
            load_checked(engine, coming.popleft()[1])
        step += 1

    engine.before_step = swap
    try:
        return engine.generate(requests)
    finally:
        engine.before_step = before


@runtime_checkable
class ScriptedSampling(StreamingEngine, Protocol):
    """A streaming engine that can be told which weights a shard is to meet."""

    def submit_scripted(self, shard: Sequence[Request], swaps: Sequence[tuple[int, WeightUpdate]]) -> int:
        """Have a shard sampled as `sample_as_scripted` does; returns the ticket to `collect` it with."""
        ...


class ReplayedEngine:
    """See `rollout.engine.StreamingEngine`. Shards wait until they are collected, when all weights that they met are there.

    Args:
        memory: versions of the weights that are kept, the newest among them.
    """

    def __init__(self, engine: ScriptedSampling, script: Script, memory: int) -> None:
        self.engine, self.script = engine, script
        self.shard_size, self.version = engine.shard_size, engine.version
        self._updates: deque[WeightUpdate] = deque(maxlen=memory)
        self._shards: dict[int, Sequence[Request]] = {}
        self._sampling: dict[int, tuple[int, RecordedShard]] = {}  # by ticket of ours: that of the engine, and what it was told
        self._next_ticket = 0
        self._astray = False  # some worker may hold older weights than the newest

    @property
    def num_workers(self) -> int:
        return self.engine.num_workers

    @property
    def ended(self) -> bool:
        return bool(getattr(self.engine, "ended", False))

    def submit(self, shard: Sequence[Request], *, ahead: bool = False) -> int:
        ticket = self._next_ticket
        self._next_ticket += 1
        self._shards[ticket] = shard
        return ticket

    def collect(self, ticket: int) -> ShardResult:
        if ticket in self._shards:
            together = self._recorded(ticket).together
            for waiting in list(self._shards):  # no others: new weights must find no shard in work
                recorded = self.script.get(_key(self._shards[waiting]))  # what was never collected is not there
                if recorded is not None and recorded.together == together:
                    self._begin(waiting)
        inner, recorded = self._sampling.pop(ticket)
        return replace(self.engine.collect(inner), swaps=recorded.swaps)

    def finished(self, ticket: int) -> bool:
        return ticket in self._sampling and self.engine.finished(self._sampling[ticket][0])

    def abandon(self) -> None:
        self._shards.clear()
        self._sampling.clear()
        self.engine.abandon()

    def generate(self, requests: Sequence[Request]) -> list[Trajectory]:
        self._catch_up()
        return self.engine.generate(requests)

    def canaries(self, request: Request) -> list[Trajectory]:
        self._catch_up()
        return self.engine.canaries(request)

    def load_weights(self, update: WeightUpdate) -> Mapping[str, str]:
        if self._updates and update.version < self._updates[-1].version:
            self._updates.clear()  # another stage
        self._updates.append(update)
        self.version, self._astray = update.version, False
        return self.engine.load_weights(update)

    def close(self) -> None:
        self.engine.close()

    def _begin(self, ticket: int) -> None:
        recorded = self._recorded(ticket)
        shard = self._shards.pop(ticket)
        versions = {update.version: update for update in self._updates}
        if missing := [version for _, version in recorded.swaps if version not in versions]:
            raise RunError(
                f"the recorded run sampled with weights of version {missing[0]}, and there are {sorted(versions)} only"
            )
        told = [(step, versions[version]) for step, version in recorded.swaps]
        self._sampling[ticket] = (self.engine.submit_scripted(shard, told), recorded)
        self._astray |= any(version != self.version for _, version in recorded.swaps)

    def _recorded(self, ticket: int) -> RecordedShard:
        shard = self._shards[ticket]
        key = _key(shard)
        if key not in self.script:
            raise RunError(
                f"the recorded run never sampled {len(shard)} attempts that begin with problem {shard[0].problem_id!r} and seed "
                f"{shard[0].seed}: the recipe, the data or the code is another"
            )
        return self.script[key]

    def _catch_up(self) -> None:
        if self._astray:
            self.load_weights(self._updates[-1])


def _key(shard: Sequence[Request]) -> tuple[tuple[str, int], ...]:
    return tuple((request.problem_id, request.seed) for request in shard)
