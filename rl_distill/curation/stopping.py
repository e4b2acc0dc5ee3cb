"""Ctrl-C and a scheduler's SIGTERM inside an event loop."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def listening(on_first: Callable[[str], None], on_second: Callable[[], None]) -> Iterator[None]:
    """While inside, the first SIGINT or SIGTERM calls `on_first` with its name, each later one `on_second`.

    Does nothing outside the main thread: a notebook's kernel or a worker keeps its own handling.
    """
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    def heard(number: signal.Signals) -> None:
        seen.append(number.name)
        if len(seen) == 1:
            on_first(number.name)
        else:
            on_second()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    installed: list[signal.Signals] = []
    try:
        for number in SIGNALS:
            try:
                loop.add_signal_handler(number, heard, number)
            except (RuntimeError, ValueError, NotImplementedError):
                break
            installed.append(number)
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
