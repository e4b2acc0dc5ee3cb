"""A whole run on one GPU: learner rank and vLLM share it, and weights go by CUDA IPC."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_runs import rolled_out, tiny_student

from rl_distill.tracking import read_metrics

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
pytest.importorskip("vllm")


def test_a_run_whose_weights_go_by_ipc_learns_and_sees_every_update_arrive(tiny_recipe: Any, cli: Callable[..., Any]) -> None:
    student = tiny_student()
    student["model"] |= {"hidden_size": 128, "intermediate_size": 256, "num_heads": 2, "num_key_value_heads": 1}  # heads of 64
    recipe = tiny_recipe(
        rolled_out(steps=3),
        student=student,
        engine={"name": "vllm", "dtype": "bfloat16", "shard_size": 3, "enforce_eager": True, "gpu_memory_fraction": 0.3},
        cluster={"name": "ray", "transport": "ipc", "colocate": True},
        sync={"canary_every": 1},
    )
    code, _, err = cli("train", recipe.path)
    assert (code, err) == (0, "")
    rows = [row for row in read_metrics(recipe.run_dir / "metrics.jsonl") if row["stage"] == "grpo"]
    assert len(rows) == 3
    assert all(row["update/norm"] > 0 and row["sync/canary_error"] < 0.25 for row in rows)
