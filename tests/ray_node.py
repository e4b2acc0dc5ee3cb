"""A Ray node as an administrator starts it, with `ray start`: what a recipe with an address joins."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from network_namespaces import NetworkHost

START_SECONDS = 90.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ray_node(head: str | None = None, *, num_cpus: int = 2, host: NetworkHost | None = None, **environment: str) -> Iterator[str]:
    """A head node, or one that joins `head`; gives the head's address.

    Args:
        host: that it runs on; none is this machine, on its loopback.
        environment: of the node and of every worker on it.
    """
    port = free_port()
    own = host.address if host is not None else "127.0.0.1"
    address = head or f"{own}:{port}"
    place = ["--head", f"--port={port}", "--include-dashboard=false"] if head is None else [f"--address={head}"]
    folder = tempfile.mkdtemp(prefix="ray-")  # short, for paths of sockets are
    size = ["--object-store-memory=100000000", f"--num-cpus={num_cpus}", f"--temp-dir={folder}"][: 3 if head is None else 2]
    options = [*place, *size, f"--node-ip-address={own}", "--disable-usage-stats", "--block"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
    command = host.command(*command) if host is not None else command
    log = Path(folder, "start.log")
    with log.open("w") as file:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=file, stderr=file, start_new_session=True)
    try:
        _wait(process, log)
        yield address
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it says that it runs."""
    deadline = time.monotonic() + START_SECONDS
    while "Ray runtime started" not in (said := log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, said
        time.sleep(0.2)
