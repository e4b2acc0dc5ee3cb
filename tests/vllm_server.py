"""A real vLLM server on a CPU, with a tiny seeded model, in a process group of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import torch
from tiny_qwen import qwen_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

from rl_distill.models.loading import save_pretrained

CONTEXT, PATIENCE = 256, 300


def thinking_folder(folder: Path) -> Path:
    """A model whose tokenizer has the tokens that a reasoning parser looks for; its weights are random."""
    tokenizer = qwen_tokenizer()
    tokenizer.add_tokens(["<think>", "</think>"])  # not special: a parser looks for them in the text
    settings = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_pretrained(Qwen2ForCausalLM(settings), tokenizer, folder)
    return folder


@contextmanager
def vllm_server(folder: Path, log: Path, *options: str) -> Iterator[str]:
    """Its address, when it answers. The model is called `tiny`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", "tiny"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8"]
    command += ["--kv-cache-memory-bytes", str(2**27), "--disable-uvicorn-access-log", *options]
    environment = os.environ | {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        try:
            _wait_for(process, f"http://127.0.0.1:{port}/v1/models", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    for _ in range(PATIENCE * 2):
        assert process.poll() is None, f"vLLM's server ended: {log.read_text(errors='replace')[-2000:]}"
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"vLLM's server did not answer: {log.read_text(errors='replace')[-2000:]}")
