"""Curations that are killed while they ask a server, and what they had stored by then."""

import json
import os
import random
import signal
import time
from pathlib import Path

from chat_server import ChatServer
from tiny_runs import start_cli

from rl_distill.curation.openai_teacher import SEED_MASK


def stored_seeds(folder: Path, store: str = "responses") -> set[int]:
    """Of the rows with an answer on disk, as the server gets them."""
    lines = [line for path in folder.glob(f"{store}/*/responses-*.jsonl") for line in path.read_bytes().split(b"\n")[:-1]]
    return {json.loads(line)["response"]["seed"] & SEED_MASK for line in lines}


def killed_while_it_asks(recipe: Path, folder: Path, server: ChatServer, draw: random.Random, store: str = "responses") -> None:
    """Start a curation and kill it soon after its first call; it asks for something, and for nothing that is stored."""
    stored, num_calls = stored_seeds(folder, store), len(server.calls())
    process = start_cli("curate", recipe)
    while process.poll() is None and len(server.calls()) == num_calls:
        time.sleep(0.02)
    time.sleep(draw.uniform(0.0, 0.3))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    asked = {call["body"]["seed"] for call in server.calls()[num_calls:]}
    assert asked, "nothing was left to ask for: the kill proves nothing"
    assert not asked & stored, "an answer that is on disk is not paid for twice"
