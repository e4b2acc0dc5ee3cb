"""Prints this host's address as the other hosts of a cluster reach it: of $RL_DISTILL_INTERFACE, or on the way to a peer."""

import argparse
import os
import socket
import sys

import psutil

ANYWHERE = "192.0.2.1"  # reserved for documentation (RFC 5737): nothing is sent, only the route is looked up


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="a host that must reach this one")
    parser.add_argument("--port", action="store_true", help="append a port that is free here: HOST:PORT")
    given = parser.parse_args()
    name = os.environ.get("RL_DISTILL_INTERFACE")
    address = of_interface(name) if name else towards(given.peer or ANYWHERE)
    if address is None or (given.peer and is_loopback(address) and not is_loopback(given.peer)):
        missing = f"network interface {name!r}" if name else "way to other hosts"
        there = ", ".join(psutil.net_if_addrs())
        print(f"address: there is no {missing}; set RL_DISTILL_INTERFACE to one of {there}", file=sys.stderr)
        return 2
    print(f"{address}:{free_port(address)}" if given.port else address)
    return 0


def of_interface(name: str) -> str | None:
    entries = psutil.net_if_addrs().get(name, [])
    return next((entry.address for entry in entries if entry.family == socket.AF_INET), None)


def towards(peer: str) -> str | None:
    """The address from which this host would speak to another one; None where no way leads there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
