"""What silent workers are doing: the state of each process, and the stack of each of its threads."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rl_distill.cluster.worker_process import STACK_SIGNAL

HOST_SECONDS = 20.0  # for a host to look at a process
WRITE_SECONDS = 1.0  # for a process to write its stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A worker that may hang, the host it is on, and the file that it writes its stack to."""

    name: str
    pid: int
    node: str
    log: Path


def stacks_of(suspects: Sequence[Suspect]) -> str:
    """A page: for each worker its state and what it wrote when it was asked for its stack. A stopped process writes nothing."""
    sizes = [suspect.log.stat().st_size if suspect.log.exists() else 0 for suspect in suspects]
    prod = ray.remote(num_cpus=0, max_calls=1)(prodded)
    asked = {}
    for node in {suspect.node for suspect in suspects}:
        pids = [suspect.pid for suspect in suspects if suspect.node == node]
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        asked[node] = prod.options(scheduling_strategy=there).remote(pids)
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=HOST_SECONDS)
    time.sleep(WRITE_SECONDS)
    states: dict[tuple[str, int], str] = {}
    for node, ref in asked.items():
        with suppress(ray.exceptions.RayError):
            states |= {(node, pid): state for pid, state in ray.get(ref, timeout=0).items()}
    return "\n".join(
        f"{suspect.name}: {states.get((suspect.node, suspect.pid), 'its host does not answer')}\n{_written(suspect.log, size)}"
        for suspect, size in zip(suspects, sizes, strict=True)
    )


def prodded(pids: Sequence[int]) -> dict[int, str]:
    """Ask processes of this host for their stacks."""
    return {pid: _prodded(pid) for pid in pids}


def _prodded(pid: int) -> str:
    """The process's state in a word, such as running, sleeping, stopped or gone."""
    try:
        state = str(psutil.Process(pid).status())
        os.kill(pid, STACK_SIGNAL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return "gone"
    return state


def _written(log: Path, start: int) -> str:
    try:
        with log.open(errors="replace") as file:
            file.seek(start)
            return file.read()
    except OSError:
        return ""
