"""A small decoder, a stage that samples from it, and devices with round numbers."""

from dataclasses import replace

import pytest

from rl_distill.cluster.memory import ModelSize
from rl_distill.learning.learner import LearnerConfig
from rl_distill.planning.decoding import Batching
from rl_distill.planning.hardware import gpu
from rl_distill.planning.lengths import assumed
from rl_distill.planning.workload import Workload
from rl_distill.training.model_shape import ModelShape

BODY, HEAD = 2 * (4 * 64 * 64 + 3 * 64 * 192), 48 * 64


@pytest.fixture
def shape():
    """Two layers of 64 with an MLP of 192, 48 tokens, tied: as `Architecture` builds it, norms left out."""
    return ModelShape(
        layers=2,
        hidden=64,
        intermediate=192,
        vocabulary=48,
        heads=2,
        query=64,
        keys=64,
        body=BODY,
        head=HEAD,
        size=ModelSize(trained=BODY + HEAD, frozen=0, weight_bytes=4),
        tensors=20,
        outgoing_bytes=4 * (BODY + HEAD),
    )


@pytest.fixture
def large(shape):
    """The sizes of a model of 1.5 billion weights in bfloat16."""
    layers, hidden, inner, vocabulary = 28, 1536, 8960, 151_936
    body = layers * (2 * hidden * 1536 + 2 * hidden * 256 + 3 * hidden * inner)
    head = vocabulary * hidden
    return replace(
        shape,
        layers=layers,
        hidden=hidden,
        intermediate=inner,
        vocabulary=vocabulary,
        heads=12,
        query=1536,
        keys=256,
        body=body,
        head=head,
        size=ModelSize(trained=body + head, frozen=0, weight_bytes=2),
        tensors=338,
        outgoing_bytes=2 * (body + head),
    )


@pytest.fixture
def stage(large):
    """A function from changes to a stage: 32 problems, 16 attempts each, of up to 1,024 tokens."""

    def make(*, mean: float = 300, groups: int = 32, group_size: int = 16, **changes) -> Workload:
        responses = assumed(1024, mean).drawn(groups * group_size)
        values = {
            "stage": "grpo",
            "shape": large,
            "batching": Batching(engine="vllm", max_rows=64, prefill_tokens=8192, weight_bytes=2),
            "shard_size": 64,
            "group_size": group_size,
            "responses": tuple(responses),
            "prompt": 128,
            "longest": 1152,
            "units": tuple(((128 + tokens, tokens),) for tokens in responses),
            "scored": (),
            "rescored": 0,
            "learner": LearnerConfig(precision="bfloat16", gradient_checkpointing=True),
            "mini_batches": 1,
            "max_staleness": 1,
            "steps": 100,
            "lengths": "assumed",
        }
        return Workload(**(values | changes))

    return make


@pytest.fixture
def h100():
    return gpu("H100")
