"""What every worker of a run can do beside its work: say who it is, keep a log of its own, show its stack when it is silent."""

import faulthandler
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import ray

from rl_distill.cluster.machine import versions_here

STACK_SIGNAL = signal.SIGUSR1  # has a worker write the stack of each of its threads into its log


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """Who a worker is.

    address   of its host within the cluster
    node      Ray's name of that host
    versions  of what all hosts must agree on
    """

    pid: int
    host: str
    address: str
    node: str
    versions: dict[str, str]


class WorkerProcess:
    """Base of a run's Ray actors."""

    def introduce(self, log: Path | None) -> Introduction:
        """Say who this is; from now on, all that this process and its children print goes to the end of `log`."""
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(opened, 1)
            os.dup2(opened, 2)
            faulthandler.enable(opened)
            faulthandler.register(STACK_SIGNAL, opened, all_threads=True)
        return Introduction(
            pid=os.getpid(),
            host=os.uname().nodename,
            address=ray.util.get_node_ip_address(),
            node=ray.get_runtime_context().get_node_id(),
            versions=versions_here(),
        )
