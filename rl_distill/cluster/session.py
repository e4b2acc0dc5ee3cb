"""Joining a Ray cluster, or starting one for this run, and asking its workers with a deadline."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl_distill.cluster.settings import RayCluster
from rl_distill.errors import InputError, RunError, WorkerLost

# Unset, Ray would write a token into the home folder, and hosts would disagree about it.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a worker that was given no GPU sees none
os.environ["RAY_IGNORE_UNHANDLED_ERRORS"] = "1"  # of the driver alone: an answer that nobody waits for any more is no news
import ray

CONNECT_SECONDS = 15.0  # for an address to answer; Ray itself would try for minutes
# How any speaker of HTTP/2, a Ray head node among them, is greeted, and how its answer begins: length, type 4, flags, stream.
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS_FRAME = 4


class ObjectsLost(WorkerLost):
    """What a worker was to read is gone with another process; the worker itself is well."""


class Session:
    """A connection to a cluster; what it started, it stops.

    Args:
        log: where Ray's own news go to; none leaves them on the console.
        cores: that a cluster of its own hands out; none is what the recipe asks for.

    Raises:
        InputError: the address does not answer, or the cluster runs other versions.
    """

    def __init__(self, settings: RayCluster, log: Path | None = None, *, cores: int | None = None) -> None:
        options: dict[str, Any] = {
            "logging_level": logging.ERROR,
            "log_to_driver": False,
            "ignore_reinit_error": False,
        }
        if ray.is_initialized():
            raise InputError("cluster", "this process is already connected to a Ray cluster", "call ray.shutdown() first")
        if settings.address is None:
            options |= {"address": "local", "include_dashboard": False, "num_cpus": cores or _num_cpus(settings)}
            if settings.object_store_mib is not None:
                options["object_store_memory"] = settings.object_store_mib * 2**20
        else:
            _check_reachable(settings.address)
            options["address"] = settings.address
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**options)
        except Exception as error:  # Ray says most of it with bare exceptions, that a node is slow to start among them
            raise _not_started(settings.address, error) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, terminate)  # Ray puts its own in place, which ends the process at once

        if log is not None:
            _divert_news(log)

    def close(self) -> None:
        ray.shutdown()


def answers(refs: Sequence[Any], *, seconds: float, what: str) -> list[Any]:
    """What workers answer, in order.

    Args:
        what: names the question in an error.

    Raises:
        RunError: none answered for so long.
        WorkerLost: a worker died.
        Exception: what a worker raised, as it raised it.
    """
    waiting = list(refs)
    while waiting:  # whichever fails first is heard first: the others may wait for it for ever
        done, waiting = ray.wait(waiting, num_returns=1, timeout=seconds)
        if not done:
            raise RunError(f"{what}: no answer within {seconds:g} s (cluster.patience_seconds) from {len(waiting)} workers")
        answer(done[0], what=what)
    return list(ray.get(list(refs)))


def answer(ref: Any, *, what: str) -> Any:
    """One answer that is there.

    Raises:
        WorkerLost: the worker died.
        ObjectsLost: it could not read what it was given.
        Exception: what it raised, as it raised it.
    """
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ray.exceptions.ObjectLostError):
            raise ObjectsLost(f"{what}: what was to be read is lost with the process that had put it into the store") from None
        cause = error.cause if isinstance(error.cause, Exception) else RunError(f"{what}: {_first_line(error)}")
        cause.add_note(f"in the worker:\n{error}")
        raise cause from None
    except ray.exceptions.RayActorError as error:
        raise WorkerLost(f"{what}: a worker died ({_first_line(error)})") from None


def num_gpus_in_cluster() -> float:
    return float(ray.cluster_resources().get("GPU", 0.0))


def _num_cpus(settings: RayCluster) -> int:
    """Ray's count is only what it hands out: a cluster of this run hands out what the recipe asks for.

    Threads are what really loads the cores, and their number is the recipe's own choice.
    """
    asked = settings.learner.ranks * settings.learner.cpus
    asked += sum(places.workers * places.cpus for places in (settings.engine, settings.scorer))
    return max(os.cpu_count() or 1, round(asked + 0.5))


def _divert_news(log: Path) -> None:
    """Ray prints what its daemons say into the driver's console, whatever `log_to_driver` is, and has no key for it."""

    def write(data: dict[str, Any], ignore_prefix: bool) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.writelines(f"{line}\n" for line in data["lines"])

    ray._private.worker.print_to_stdstream = write


def _check_reachable(address: str) -> None:
    """A wrong address is said in seconds."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "0" and not _speaks_http2(connection):
                raise OSError("something else than a Ray head node listens there")
    except (OSError, ValueError) as error:
        raise InputError(
            "cluster.address",
            f"{address!r} does not answer ({error})",
            f"start one there with `ray start --head --port={port}`, or drop the key to start one for this run",
        ) from None


def _not_started(address: str | None, error: Exception) -> InputError:
    """What `ray.init` has failed with, and what to do."""
    reason = _said(error)
    if address is not None:
        remedy = "give HOST:PORT of a cluster started with the same Python and Ray versions, or drop the key to start one here"
        return InputError("cluster.address", f"{address!r} refuses ({reason})", remedy)
    remedy = "start it again when this machine has less to do, give cluster.address of one that runs, or use cluster.name=local"
    return InputError("cluster.name", f"a Ray cluster for this run cannot be started ({reason})", remedy)


def _said(error: Exception) -> str:
    """What it says, in a line: a wait that was in vain as such, since Ray's own words guess at the cause."""
    if "timed out" in str(error) or isinstance(error, TimeoutError):
        return "its node was not ready in time"
    return " ".join(str(error).split())[:200]


def _speaks_http2(connection: socket.socket) -> bool:
    connection.sendall(GREETING)
    header = connection.recv(4)
    return len(header) == 4 and header[3] == SETTINGS_FRAME


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
