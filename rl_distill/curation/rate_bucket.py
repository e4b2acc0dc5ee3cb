"""A limit per minute, kept by spacing."""

from collections.abc import Callable

BURST_SECONDS = 1.0


class RateBucket:
    """A leaky bucket that fills at `per_minute`, begins with 1, and holds one second of it to make up for late wake-ups.

    Whoever finds something in it may take as much as is needed: a request larger than the bucket leaves a debt and is not stuck.
    In any minute at most the limit, the bucket and the last request are taken.

    Args:
        per_minute: the limit; None for none.
        clock: seconds, monotonic.
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float]) -> None:
        self._per_second = None if per_minute is None else per_minute / 60
        self._size = max(1.0, (self._per_second or 0.0) * BURST_SECONDS)
        self._clock = clock
        self._level, self._seen = 1.0, clock()  # a full one at the start would be a burst that a strict server refuses

    def wait(self) -> float:
        """Seconds until something may be taken."""
        if self._per_second is None:
            return 0.0
        self._fill()
        needed = min(1.0, self._size) - self._level
        return max(0.0, needed / self._per_second)

    def take(self, amount: float) -> None:
        """Take, or give back what was taken too much (below 0)."""
        if self._per_second is not None:
            self._fill()
            self._level = min(self._size, self._level - amount)

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._size, self._level + (now - self._seen) * (self._per_second or 0.0))
        self._seen = now
