"""Calls that may hang, eat memory or kill their process, run in processes that are killed when their deadline has passed.

One pool for each number of workers is started on first use, shared by all threads and closed at exit. Workers are forked from
a clean server process (spawned where that does not exist), so neither threads nor a GPU context of the caller come along. As
with every such process in Python, the main script of the program is imported again in each worker: a script keeps its work
under `if __name__ == "__main__":` (`python -c`, notebooks, the interactive prompt and pytest need nothing). One that does not,
and one read from standard input, ends in a RunError that says so.
"""

import atexit
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, wait
from concurrent.futures import TimeoutError as DeadlinePassed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Literal

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from rl_distill.errors import RunError

Failure = Literal["timeout", "worker_died", "error"]

START_SECONDS = 120.0  # a worker imports the caller's main script and the libraries before it takes its first call
GRACE_SECONDS = 1.0  # between a worker's own alarm and the pool stepping in
EXTRA_MEMORY_BYTES = 2 << 30  # what one call may allocate on top of the libraries
MAX_STARTS = 3  # of a call whose pool was lost, or whose process was ended from outside
ENDED_FROM_OUTSIDE = (signal.SIGTERM, -signal.SIGTERM)  # exit codes, as when a scheduler signals the whole job


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """The processes of a pool.

    `ready` names a module whose import makes a process ready for calls, so that no call pays for it. The server that workers are
    forked from imports it once, which makes the replacement of a killed one quick; each worker does where they are spawned, where
    another part of the program had started that server, or where only a changed `sys.path` finds the module. The list of what
    the server imports is the program's: a pool sets it to this one.
    """

    count: int
    ready: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one call: its value, or why there is none."""

    value: Any = None
    failure: Failure | None = None
    detail: str = ""


_pools: dict[Workers, ProcessPool] = {}
_lock = threading.Lock()
_owner = os.getpid()


def run_all(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], *, deadline: float, workers: Workers
) -> list[Outcome]:
    """`function(*call)` for every call, in order, each within `deadline` seconds of when it starts running.

    `function` is importable by name from a worker; so are the classes of arguments and values.

    Raises:
        RunError: the workers cannot start.
    """
    outcomes: list[Outcome | None] = [None] * len(calls)
    for _ in range(MAX_STARTS):
        pending = [index for index, outcome in enumerate(outcomes) if outcome is None]
        if not pending:
            break
        pool = _started(workers)
        try:
            futures = [
                pool.schedule(_guarded, args=(function, deadline, calls[index]), timeout=deadline + GRACE_SECONDS)
                for index in pending
            ]
            for index, future in zip(pending, futures, strict=True):
                outcomes[index] = _outcome(pool, future)
        except (RuntimeError, CancelledError):  # what is done is done; the rest goes on in a new pool
            _discard(workers, pool)
    lost = Outcome(failure="worker_died", detail=f"its process was ended {MAX_STARTS} times")
    return [outcome or lost for outcome in outcomes]


@atexit.register
def close_pools() -> None:
    """Stop every worker now; the next call starts new ones."""
    with _lock:
        pools = list(_pools.values()) if _owner == os.getpid() else []
        _pools.clear()
    for pool in pools:
        pool.stop()
        pool.join()


def _outcome(pool: ProcessPool, future: ProcessFuture[Any]) -> Outcome | None:
    """Waits for one call; None if its process was ended for no fault of the call's own.

    A pool that stops forgets the calls it had only queued, so nobody may wait for those blindly.
    """
    while not future.done() and pool.active:
        wait([future], timeout=0.5)
    if not future.done():
        raise BrokenProcessPool("stopped with calls still queued")
    try:
        return Outcome(value=future.result())
    except DeadlinePassed:
        return Outcome(failure="timeout")
    except ProcessExpired as death:
        if sys.platform != "win32" and death.exitcode == -signal.SIGALRM:
            return Outcome(failure="timeout")
        if death.exitcode in ENDED_FROM_OUTSIDE:
            return None
        return Outcome(failure="worker_died", detail=f"exit code {death.exitcode}")
    except (BrokenProcessPool, CancelledError):
        raise
    except Exception as error:  # whatever an untrusted answer provoked in the library
        return Outcome(failure="error", detail=f"{type(error).__name__}: {error}"[:200])


def _started(workers: Workers) -> ProcessPool:
    global _owner
    with _lock:
        if _owner != os.getpid():  # a fork of the process that started them: its pools are not ours to use or stop
            _pools.clear()
            _owner = os.getpid()
        if workers not in _pools:
            _pools[workers] = _new_pool(workers)
        return _pools[workers]


def _new_pool(workers: Workers) -> ProcessPool:
    if "forkserver" in multiprocessing.get_all_start_methods():
        method = "forkserver"
        multiprocessing.get_context(method).set_forkserver_preload([workers.ready])  # ignored if that server runs already
    else:
        method = "spawn"
    context = multiprocessing.get_context(method)
    pool = ProcessPool(max_workers=workers.count, initializer=_prepare_worker, initargs=(workers.ready,), context=context)
    try:
        pool.schedule(os.getpid).result(timeout=START_SECONDS)
    except (BrokenProcessPool, DeadlinePassed, OSError, EOFError) as error:
        pool.stop()
        pool.join()
        raise RunError(
            f"the processes that check answers did not start ({type(error).__name__}: {error}); a script must be a file (not "
            'standard input) that does its work under `if __name__ == "__main__":`, and what '
            f"{workers.ready!r} imports must be installed and work"
        ) from error
    return pool


def _discard(workers: Workers, pool: ProcessPool) -> None:
    with _lock:
        if _pools.get(workers) is pool:
            del _pools[workers]
    pool.stop()
    pool.join()


def _prepare_worker(ready: str) -> None:
    """Runs in a new worker: get ready, be silent, and turn a memory bomb into a MemoryError of this process alone."""
    logging.disable(logging.CRITICAL)
    importlib.import_module(ready)  # no work in a fork of a server that has it; another part of the program may have started one
    if sys.platform == "linux":
        import resource

        with open("/proc/self/statm", encoding="ascii") as statm:
            in_use = int(statm.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = in_use + EXTRA_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _guarded(function: Callable[..., Any], deadline: float, call: tuple[Any, ...]) -> Any:
    """Runs in a worker. The alarm has no Python handler, so the kernel ends even a loop in C that no handler could interrupt,
    and does so when the caller is long dead; where there is none (Windows), the pool's own timeout does it."""
    if sys.platform == "win32":
        return function(*call)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, deadline)
    try:
        return function(*call)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
