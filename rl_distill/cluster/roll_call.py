"""The hosts of a connected cluster, each asked by a process of its own."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rl_distill.cluster.machine import Machine, check_same_versions, this_machine
from rl_distill.cluster.process_setup import runtime_env
from rl_distill.cluster.session import answers
from rl_distill.cluster.settings import RayCluster

ANSWER_SECONDS = 120.0  # for a small task on each host


def cluster_machines(settings: RayCluster) -> list[Machine]:
    """The hosts of a run: this one alone where the cluster was started for it.

    Raises:
        InputError: they do not all have the versions of this one.
        RunError: one does not answer.
    """
    if settings.address is None:
        return [this_machine()]
    machines: list[Machine] = on_every_host(_look_around, "looking at the hosts")
    for machine in machines:
        check_same_versions(machine.host, machine.versions)
    return machines


def hosts_without(folder: Path) -> list[str]:
    """Hosts of the cluster that do not see a folder of this one."""
    return [host for host, seen in on_every_host(partial(_sees, str(folder)), "looking for the run folder") if not seen]


def on_every_host(function: Callable[[], Any], what: str) -> list[Any]:
    """What a function returns on each host that is alive.

    Raises:
        RunError: a host did not answer.
    """
    task = ray.remote(num_cpus=0, max_calls=1, runtime_env=runtime_env(threads=1))(lambda: function())
    hosts = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    refs = [task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(host, soft=False)).remote() for host in hosts]
    return answers(refs, seconds=ANSWER_SECONDS, what=what)


def _look_around() -> Machine:
    if not os.environ.get("CUDA_VISIBLE_DEVICES", "all"):
        del os.environ["CUDA_VISIBLE_DEVICES"]  # Ray hides the devices from a task that asks for none
    return this_machine()


def _sees(folder: str) -> tuple[str, bool]:
    return this_machine().host, Path(folder).is_dir()
