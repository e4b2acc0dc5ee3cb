"""A stage's steps one after another: sampling and training in turns, or sampling ahead within a bound."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace

from rl_distill.rollout.staleness import admits


@dataclass(frozen=True, slots=True)
class Timeline:
    """Seconds of each step, as the loop's clock would have them: from asking for groups to engines with new weights.

    waited  of it for groups
    """

    seconds: tuple[float, ...]
    waited: tuple[float, ...]

    @property
    def steady(self) -> float:
        """Mean of the later half, when the queue has found its length."""
        return _mean(self.seconds[len(self.seconds) // 2 :])

    @property
    def steady_wait(self) -> float:
        return _mean(self.waited[len(self.waited) // 2 :])


def timeline(shards: Sequence[float], workers: int, rest: float, *, max_staleness: int, steps: int) -> Timeline:
    """Simulate so many steps of equal rounds.

    A round starts when `rollout.staleness.admits` lets it; its shards go in order to whichever worker is free first, so that
    those of the next round fill the gaps that a long one leaves. The learner takes rounds in order and is at work for `rest`
    after it has got one.

    Args:
        shards: seconds of each shard of a round.
        rest: seconds of scoring, training and bringing the weights to the engines.
    """
    free = [0.0] * workers  # when each worker has done what it was given
    done: list[float] = []  # when each round is complete
    now, lengths, waits = 0.0, [], []
    for version in range(steps):
        while admits(len(done) + 1, batch_size=1, version=version, max_lag=max_staleness) and len(done) < steps:
            done.append(_sampled(shards, free, now))
        begun = max(now, done[version])
        waits.append(begun - now)
        lengths.append(begun - now + rest)
        now = begun + rest
    return Timeline(tuple(lengths), tuple(waits))


def _sampled(shards: Sequence[float], free: list[float], start: float) -> float:
    """Give a round's shards to the workers; when the last of them is done."""
    last = start
    for seconds in shards:
        end = max(start, free[0]) + seconds
        heapreplace(free, end)
        last = max(last, end)
    return last


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
