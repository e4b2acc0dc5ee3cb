"""Hosts with addresses of their own on one machine: network namespaces, joined by a cable that can be cut."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

GONE_SECONDS = 30.0  # for killed processes to be reaped
_numbers = count()


@dataclass(frozen=True, slots=True)
class NetworkHost:
    """A network namespace with one interface beside its loopback; hosts share the machine's file system."""

    name: str
    interface: str
    address: str

    def command(self, *arguments: object) -> list[str]:
        """What runs a command on this host."""
        return ["ip", "netns", "exec", self.name, *map(str, arguments)]

    def pids(self) -> list[int]:
        """Its processes, all of which this test session has started: nobody else knows the namespace."""
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]

    def processes(self, title: str) -> list[int]:
        """Those of its processes whose command line contains a text; Ray gives a worker the title `ray::CLASS`."""
        return [pid for pid in self.pids() if title in _command_line(pid)]

    def cut_off(self) -> None:
        """Take its cable out: what was sent is lost, what is sent is not answered."""
        _ip("-netns", self.name, "link", "set", self.interface, "down")

    def rejoin(self) -> None:
        _ip("-netns", self.name, "link", "set", self.interface, "up")

    def kill_all(self) -> None:
        """As a power cut would: all its processes end at once, whatever they were doing."""
        deadline = time.monotonic() + GONE_SECONDS
        while pids := self.pids():
            for pid in pids:
                _kill(pid)
            assert time.monotonic() < deadline, f"processes {pids} of {self.name} do not end"
            time.sleep(0.05)


@contextmanager
def two_hosts() -> Iterator[tuple[NetworkHost, NetworkHost]]:
    """Two hosts that reach each other and nothing else. At the end their processes are killed and both are gone."""
    tag = f"{os.getpid()}x{next(_numbers)}"  # an interface's name has at most 15 characters
    hosts = tuple(NetworkHost(f"rld-{tag}-{end}", f"v{tag}{end}", f"10.77.0.{place}") for place, end in enumerate("ab", 1))
    with _namespace(hosts[0]), _namespace(hosts[1]):
        _ip("link", "add", hosts[0].interface, "netns", hosts[0].name, "type", "veth", "peer", "name", hosts[1].interface,
            "netns", hosts[1].name)  # fmt: skip
        for host in hosts:
            _ip("-netns", host.name, "address", "add", f"{host.address}/24", "dev", host.interface)
            for interface in ("lo", host.interface):
                _ip("-netns", host.name, "link", "set", interface, "up")
        yield hosts[0], hosts[1]


def why_not() -> str:
    """Why this machine can have no such hosts; empty if it can."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    try:
        with two_hosts():
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces here: {getattr(error, 'stderr', None) or error}".strip()


@contextmanager
def _namespace(host: NetworkHost) -> Iterator[None]:
    _ip("netns", "add", host.name)
    try:
        yield
    finally:
        try:
            host.kill_all()
        finally:
            _ip("netns", "delete", host.name)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it has just ended
        return ""


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, signal.SIGKILL)
