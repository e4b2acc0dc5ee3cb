"""Waits until a Ray cluster has as many nodes as it should: python wait_for_nodes.py HOST:PORT COUNT [SECONDS]"""

import argparse
import logging
import socket
import sys
import time
from typing import Any

import ray

POLL_SECONDS = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("count", type=int)
    parser.add_argument("seconds", type=float, nargs="?", default=600.0)
    given = parser.parse_args()
    deadline = time.monotonic() + given.seconds
    while not answers(given.address):
        if time.monotonic() > deadline:
            return said(f"no head node answers at {given.address}")
        time.sleep(POLL_SECONDS)
    ray.init(address=given.address, logging_level=logging.ERROR, log_to_driver=False)
    while len(nodes := alive()) < given.count:
        if time.monotonic() > deadline:
            return said(f"{len(nodes)} of {given.count} nodes have joined {given.address}: {described(nodes)}")
        time.sleep(POLL_SECONDS)
    print(f"nodes of {given.address}: {described(nodes)}", flush=True)
    return 0


def answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return True
    except OSError:
        return False


def alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def described(nodes: list[dict[str, Any]]) -> str:
    parts = []
    for node in nodes:
        have = ", ".join(f"{node['Resources'].get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
        parts.append(f"{node['NodeManagerAddress']} ({have})")
    return ", ".join(parts)


def said(problem: str) -> int:
    print(f"wait_for_nodes: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
