"""Trains adapters on two DeepSpeed ranks and writes what each kind of learner publishes and exports; started by test_lora."""

import socket
import sys
from pathlib import Path
from typing import Any

import torch
from mixed_step import CONFIG, ROLLOUTS, SHAPE, TOKENIZER
from safetensors.torch import save_file

from rl_distill.algorithms.sft import Sft
from rl_distill.learning.deepspeed_learner import DeepspeedRank, Sharding, join
from rl_distill.learning.loss_term import MAIN, LossTerm
from rl_distill.learning.step_plan import plan_step
from rl_distill.models.lora import Lora

RANKS, STEPS = 2, 3


def model() -> Any:
    return Lora(rank=2, alpha=8).inject(SHAPE.build(TOKENIZER), 1)


def one_rank(rank: int, folder: Path, stage: int, port: int) -> None:
    torch.set_num_threads(1)
    join(rank, RANKS, "127.0.0.1", port, timeout_seconds=120)
    term = LossTerm(source=MAIN, algorithm=Sft(), weight=1.0, temperature=1.0)
    for merged in (False, True):
        learner = DeepspeedRank(
            model(), TOKENIZER, [term], CONFIG, Sharding(stage=stage), total_steps=None, publish_merged=merged
        )
        for _ in range(STEPS):
            learner.step_share(plan_step(ROLLOUTS, learner.terms, num_processes=RANKS, max_tokens=64)[rank])
        tensors = {name: tensor for bucket in learner.weights(2048, copy=True) for name, tensor in bucket.items()}
        if rank == 0:
            save_file(tensors, folder / ("merged.safetensors" if merged else "adapters.safetensors"))
        learner.export(folder / "student")
    learner.close()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = free.getsockname()[1]
    torch.multiprocessing.spawn(one_rank, (Path(sys.argv[1]), int(sys.argv[2]), place), nprocs=RANKS)
