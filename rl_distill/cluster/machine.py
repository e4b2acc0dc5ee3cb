"""What one machine of a cluster is: its versions, cores, memory and devices."""

import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rl_distill.cluster.installation import installed
from rl_distill.errors import InputError

MUST_AGREE = ("python", "ray", "rl_distill", "torch", "transformers", "tokenizers", "deepspeed")
_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """
    versions      of Python and of the libraries on which all hosts of a run must agree; "none" where one is missing
    memory_bytes  that this process may use: the machine's, or its container's
    device_bytes  of memory of each GPU
    """

    host: str
    versions: dict[str, str]
    cores: int
    memory_bytes: int
    device_bytes: tuple[int, ...]


def this_machine() -> Machine:
    """The machine that runs this process."""
    return Machine(
        host=socket.gethostname(),
        versions=versions_here(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        device_bytes=_device_bytes(),
    )


def versions_here() -> dict[str, str]:
    """Of everything in `MUST_AGREE`, for this process."""
    libraries = {name: installed(name) or "none" for name in MUST_AGREE if name != "python"}
    return {"python": platform.python_version(), **libraries}


def check_same_versions(host: str, theirs: Mapping[str, str]) -> None:
    """
    Raises:
        InputError: a host of the cluster has another version of something than this process, which drives the run.
    """
    for name, ours in versions_here().items():
        if theirs[name] != ours:
            raise InputError(
                "cluster.address",
                f"{name} is {theirs[name]} on host {host} and {ours} on {socket.gethostname()}, which drives the run",
                "install the same versions on all hosts",
            )


def _memory_bytes() -> int:
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in map(Path, _CONTAINER_LIMITS):
        if limit.is_file() and (text := limit.read_text().strip()).isdigit():
            found.append(int(text))
    return min(found)


def _device_bytes() -> tuple[int, ...]:
    import torch

    if not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count()))
