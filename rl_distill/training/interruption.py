"""Ctrl-C and a scheduler's SIGTERM: the step in hand is finished and saved before the run stops."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rl_distill.errors import RunError


class Interrupted(RunError):
    """The user or the scheduler stopped the run; everything up to here is saved."""


class StoppedByAlarm(RunError):
    """An alarm whose action is stop has ended the run; everything up to here is saved."""


class Reached(Exception):
    """The step is done after which a replay was told to stop."""


class StopRequest:
    """Set by the first signal; a second one stops at once."""

    def __init__(self) -> None:
        self.signal_name: str | None = None


@contextmanager
def graceful_stop() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request that the loop looks at after each step; does nothing outside the main thread."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.signal_name is not None:
            raise KeyboardInterrupt
        request.signal_name = signal.Signals(number).name

    previous: dict[signal.Signals, object] = {}
    try:
        for name in (signal.SIGINT, signal.SIGTERM):
            previous[name] = signal.signal(name, ask)
    except ValueError:  # not the main thread: a notebook's kernel or a worker keeps its own handling
        pass
    try:
        yield request
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)  # type: ignore[arg-type]
