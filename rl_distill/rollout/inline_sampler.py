"""An engine in this process behind the interface of those that sample while others work."""

import time
from collections.abc import Sequence

from rl_distill.rollout.engine import Engine, Request, ShardResult


class InlineSampler:
    """Samples a shard when it is collected; see `rollout.engine.StreamingEngine`."""

    num_workers = 1

    def __init__(self, engine: Engine) -> None:
        self.engine, self.shard_size = engine, engine.shard_size
        self._waiting: dict[int, Sequence[Request]] = {}
        self._next_ticket = 0

    def submit(self, shard: Sequence[Request], *, ahead: bool = False) -> int:
        ticket = self._next_ticket
        self._next_ticket += 1
        self._waiting[ticket] = shard
        return ticket

    def collect(self, ticket: int) -> ShardResult:
        started = time.perf_counter()
        trajectories = self.engine.generate(self._waiting.pop(ticket))
        seconds = time.perf_counter() - started
        return ShardResult(trajectories=trajectories, worker=0, swaps=((0, self.engine.version),), seconds=seconds)

    def finished(self, ticket: int) -> bool:
        return False

    def abandon(self) -> None:
        self._waiting.clear()
