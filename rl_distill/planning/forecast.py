"""A stage on a layout: seconds of each phase, of a step for each bound on staleness, memory, weights on their way."""

from collections.abc import Mapping
from dataclasses import dataclass

from rl_distill.planning.footprint import EngineFootprint, RankFootprint
from rl_distill.planning.hardware import Hardware
from rl_distill.planning.layout import (
    Layout,
    credit_seconds,
    engine_memory_of,
    fits,
    rank_memory_of,
    score_seconds,
    shard_seconds,
    sync_seconds,
    train_seconds,
)
from rl_distill.planning.pipeline import Timeline, timeline
from rl_distill.planning.workload import Workload

STALENESS = (0, 1, 2, 4)
_STEPS = 60  # of the simulation


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Seconds of a step's parts when they wait for each other."""

    generate: float
    score: float
    credit: float
    train: float
    sync: float

    @property
    def rest(self) -> float:
        """What the learner's side takes."""
        return self.score + self.credit + self.train + self.sync

    @property
    def step(self) -> float:
        return self.generate + self.rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """
    step      seconds with the recipe's own bound on staleness
    ahead     seconds of a step for each bound in `STALENESS`; none where nothing is sampled
    engine_busy, learner_busy  shares of a step with the recipe's bound
    """

    layout: Layout
    phases: Phases
    step: float
    ahead: Mapping[int, float]
    engine_busy: float
    learner_busy: float
    rank: RankFootprint
    engine: EngineFootprint | None
    fits: bool

    def gain(self, max_staleness: int) -> float:
        """How many times as fast as with 0."""
        return self.ahead[0] / self.ahead[max_staleness]


def forecast(work: Workload, layout: Layout, hardware: Hardware) -> Forecast:
    """Everything about a stage on a layout."""
    shards = shard_seconds(work, layout, hardware)
    phases = Phases(
        generate=makespan(shards, layout.engines),
        score=score_seconds(work, hardware),
        credit=credit_seconds(work, layout, hardware),
        train=train_seconds(work, layout, hardware),
        sync=sync_seconds(work, layout, hardware),
    )
    ahead = {bound: step_seconds(shards, layout, hardware, phases.rest, bound) for bound in STALENESS} if work.online else {}
    step = step_seconds(shards, layout, hardware, phases.rest, work.max_staleness) if work.online else phases.step
    return Forecast(
        layout=layout,
        phases=phases,
        step=step,
        ahead=ahead,
        engine_busy=sum(shards) / layout.engines / step if shards else 0.0,
        learner_busy=phases.rest / step,
        rank=rank_memory_of(work, layout),
        engine=engine_memory_of(work, layout, hardware),
        fits=fits(work, layout, hardware),
    )


def makespan(shards: list[float], engines: int) -> float:
    """Seconds from the first shard's start to the last one's end, each shard going to whoever is free first."""
    return timeline(shards, engines, 0.0, max_staleness=0, steps=1).seconds[0] if shards else 0.0


def step_seconds(shards: list[float], layout: Layout, hardware: Hardware, rest: float, max_staleness: int) -> float:
    """Of a steady step. Where sampling and training share devices they take turns, and running ahead gains nothing.

    Beside each other, engines and ranks crowd their hosts more than each by themselves, for as long as both are at work.
    """
    bound = 0 if layout.turns else max_staleness
    steady = simulated(shards, layout.engines, rest, bound).steady
    if not bound:
        return steady
    engines, ranks = layout.engines, layout.learner.ranks
    together, apart = (hardware.slowdown(layout.on_a_host(count)) for count in (engines + ranks, max(engines, ranks)))
    both_at_work = max(0.0, sum(shards) / engines + rest - steady)
    return steady + both_at_work * (together / apart - 1)


def simulated(shards: list[float], engines: int, rest: float, max_staleness: int) -> Timeline:
    """One step is enough where each waits for the other."""
    return timeline(shards, engines, rest, max_staleness=max_staleness, steps=_STEPS if max_staleness else 1)
