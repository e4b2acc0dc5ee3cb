"""The vLLM engine on a GPU, at the shapes of Qwen2.5's 0.5B and 1.5B with random weights; needs the extra `vllm`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qwen_sizes import SHAPES, qwen_of_size
from vllm_process import VERSION, EngineProcess, engine_process

from rl_distill.models.digest import named_weights, weight_digests
from rl_distill.models.loading import save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import Request, Sampling
from rl_distill.rollout.vllm_config import VllmEngineConfig
from rl_distill.trajectory import Trajectory

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
pytest.importorskip("vllm")

TOKENIZER = arithmetic_tokenizer()
CONFIG = VllmEngineConfig(dtype="bfloat16", gpu_memory_fraction=0.4)  # the reference model is on the same GPU
ASKED = [
    Request(problem_id=str(index // 4), messages=(), token_ids=tuple(range(3, 40)), sampling=Sampling(max_tokens=64), seed=index)
    for index in range(32)
]


def student(size: str, seed: int) -> Any:
    torch.manual_seed(seed)
    return qwen_of_size(size).to("cuda").eval()


@pytest.fixture(scope="module", params=list(SHAPES))
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def process(size: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    folder: Path = tmp_path_factory.mktemp(size)
    save_pretrained(student(size, 0), TOKENIZER, folder)
    with engine_process() as process:
        process.start(folder, TOKENIZER, CONFIG)
        yield process


def update_of(model: Any, version: int) -> WeightUpdate:
    tensors: Mapping[str, torch.Tensor] = {name: tensor.cpu() for name, tensor in named_weights(model).items()}
    return WeightUpdate(version=version, tensors=tensors, digests=weight_digests(tensors), num_bytes=0)


def mean_gap(model: Any, made: list[Trajectory]) -> float:
    """In nats, between the engine's log-probs and those of one forward pass of transformers."""
    gaps = []
    for one in made:
        start = one.sampled.index(True)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([one.token_ids], device="cuda")).logits[0, start - 1 : -1].float()
        plain = torch.log_softmax(logits, -1).gather(1, torch.tensor(one.token_ids[start:], device="cuda")[:, None])[:, 0]
        gaps += (plain.cpu() - torch.tensor(one.behavior_logprobs[start:])).abs().tolist()
    return float(np.mean(gaps))


def test_it_samples_from_the_weights_it_was_started_with_and_from_those_it_is_sent(process: EngineProcess, size: str) -> None:
    first, second = student(size, 0), student(size, 1)
    assert mean_gap(first, process.generate(ASKED)) < 0.05
    update = update_of(second, 8)
    assert process.load_weights(update) == update.digests
    made = process.generate(ASKED)
    assert mean_gap(second, made) < 0.05 < mean_gap(first, made)
    back = update_of(first, VERSION)
    assert process.load_weights(back) == back.digests


def test_weights_that_change_within_a_response_leave_each_token_with_its_version(process: EngineProcess, size: str) -> None:
    first, second = student(size, 0), student(size, 1)
    back = update_of(first, VERSION)
    process.load_weights(back)
    made = process.generate_while_loading(ASKED, {16: update_of(second, 8)})
    process.load_weights(back)
    assert all(set(one.policy_versions[one.sampled.index(True) :]) == {VERSION, 8} for one in made if one.num_sampled > 32)
    assert any(one.num_sampled > 32 for one in made)


def test_two_ranks_hold_what_was_published(size: str, tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    model = student(size, 0)
    save_pretrained(model, TOKENIZER, tmp_path)
    update = update_of(student(size, 1), 8)
    with engine_process() as process:
        process.start(tmp_path, TOKENIZER, VllmEngineConfig(gpu_memory_fraction=0.4, tensor_parallel=2))
        assert process.load_weights(update) == update.digests
