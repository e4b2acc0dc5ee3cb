"""The best engines : learner ratio for a number of devices."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rl_distill.planning.forecast import makespan, step_seconds
from rl_distill.planning.hardware import Hardware
from rl_distill.planning.layout import Layout, credit_seconds, fits, score_seconds, shard_seconds, sync_seconds, train_seconds
from rl_distill.planning.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A layout with the seconds of its step.

    generate, learn  when they wait for each other
    waiting, ahead   seconds of a step without running ahead, and one step ahead
    """

    layout: Layout
    generate: float
    learn: float
    waiting: float
    ahead: float


def candidates(work: Workload, layout: Layout, hardware: Hardware, devices: int, hosts: int) -> list[Candidate]:
    """Layouts of at most so many devices that fit in memory: splits into engines and ranks, and all devices shared by both.

    More ranks than help are left out (their traffic can cost more than they bring), so that more devices are never slower.
    """
    base = replace(layout, local=False, hosts=hosts)
    learn: dict[int, float] = {}  # ranks -> seconds of everything but sampling, of those that fit
    for ranks in counts(devices):
        made = replace(base, learner=replace(base.learner, ranks=ranks), colocate=False, transport="object_store")
        if fits(work, made, hardware):
            learn[ranks] = _learn_seconds(work, made, hardware)
    engines = counts(devices // base.tensor_parallel)
    found = [_split(work, base, hardware, number, learn, devices) for number in engines]
    return [one for one in (*found, _shared(work, base, hardware, devices)) if one is not None]


def counts(most: int) -> Iterator[int]:
    """Numbers of workers that are tried: every one up to 128, then 64 between a number and its double: 10,000 take seconds."""
    count = 1
    while count <= most:
        yield count
        count += max(1, 2 ** (count.bit_length() - 7))


def best(found: list[Candidate], *, ahead: bool) -> Candidate:
    """The fastest; of equally fast ones the one with the fewest devices."""
    return min(found, key=lambda one: (round(one.ahead if ahead else one.waiting, 9), one.layout.devices))


def _split(
    work: Workload, base: Layout, hardware: Hardware, engines: int, learn: dict[int, float], devices: int
) -> Candidate | None:
    """So many engines beside the best number of ranks that is left."""
    left = devices - engines * base.tensor_parallel - base.scorers
    ranks = min((count for count in learn if count <= left), key=lambda count: (learn[count], count), default=None)
    if ranks is None:
        return None
    made = replace(base, engines=engines, learner=replace(base.learner, ranks=ranks), colocate=False)
    return _candidate(work, made, hardware, learn[ranks])


def _shared(work: Workload, base: Layout, hardware: Hardware, devices: int) -> Candidate | None:
    """A rank and a part of an engine on every device."""
    engines = devices // base.tensor_parallel
    made = replace(base, engines=engines, learner=replace(base.learner, ranks=devices), colocate=True, scorers=0)
    if base.scorers or engines < 1 or hardware.kind == "cpu" or not fits(work, made, hardware):
        return None
    return _candidate(work, made, hardware, _learn_seconds(work, made, hardware))


def _candidate(work: Workload, layout: Layout, hardware: Hardware, learn: float) -> Candidate:
    shards = shard_seconds(work, layout, hardware)
    waiting, ahead = (step_seconds(shards, layout, hardware, learn, bound) for bound in (0, 1))
    return Candidate(layout=layout, generate=makespan(shards, layout.engines), learn=learn, waiting=waiting, ahead=ahead)


def _learn_seconds(work: Workload, layout: Layout, hardware: Hardware) -> float:
    parts = (score_seconds(work, hardware), credit_seconds(work, layout, hardware))
    return sum(parts) + train_seconds(work, layout, hardware) + sync_seconds(work, layout, hardware)
