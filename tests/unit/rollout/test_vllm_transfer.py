"""A learner's end of vLLM's weight transfer, as far as a machine without GPUs can see: what vLLM is told, and what it gets."""

import copy
from dataclasses import asdict, fields
from typing import Any

import pytest
import torch

from rl_distill.algorithms.sft import Sft
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.models.lora import Lora
from rl_distill.rollout.weight_loading import first_names

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow

PLACE = ("10.0.0.1", 4321)


def learner(model: Any, tokenizer: Any, dtype: torch.dtype = torch.bfloat16) -> LocalLearner:
    config = LearnerConfig(device="cpu", schedule="constant", warmup_steps=0)
    return LocalLearner(model, tokenizer, Sft(), config, publish_dtype=dtype, publish_merged=True)


def source_of(learner: LocalLearner, max_bytes: int = 4096, digest: bool = True) -> Any:
    from rl_distill.rollout.vllm_transfer import GatheredWeights

    names = first_names(learner.model)
    return GatheredWeights(learner.outgoing, lambda: learner.weights(max_bytes), names, torch.device("cpu"), digest=digest)


@pytest.fixture(params=["tied", "untied", "adapters"])
def source(request: pytest.FixtureRequest, qwen: Any, llama: Any, tokenizer: Any) -> Any:
    model = copy.deepcopy(llama if request.param == "untied" else qwen)
    if request.param == "adapters":
        Lora(rank=2).inject(model, 1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
    return source_of(learner(model, tokenizer))


def test_what_is_declared_is_what_comes_by_vllms_own_check(source: Any) -> None:
    from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerWeightTransferEngine, NCCLWeightTransferUpdateInfo

    declared = source.metadata()
    for _ in range(2):  # every round is a fresh pass
        assert len(list(NCCLTrainerWeightTransferEngine._checked_iter(source, declared))) == len(declared)
    assert {one.dtype for one in declared} == {torch.bfloat16}
    told = NCCLWeightTransferUpdateInfo(
        names=[one.name for one in declared],
        dtype_names=[str(one.dtype).split(".")[-1] for one in declared],
        shapes=[list(one.shape) for one in declared],
    )
    assert "lm_head.weight" in told.names and not any("lora" in name for name in told.names)


@pytest.mark.parametrize("rank", [0, 1])
def test_digests_and_bytes_are_those_of_an_update_that_travels_through_the_store(qwen: Any, tokenizer: Any, rank: int) -> None:
    made = learner(qwen, tokenizer)
    published, source = made.publish(1), source_of(made, digest=rank == 0)
    list(source)
    assert source.digests == (published.digests if rank == 0 else {})
    assert made.outgoing.num_bytes == published.num_bytes


def test_vllm_takes_what_the_senders_of_nccl_are_opened_with(source: Any) -> None:
    """The first rank's can only be opened on a GPU; another rank's goes through the weights to keep the first company."""
    from vllm.distributed.weight_transfer.nccl_common import NCCLWeightTransferInitInfo

    from rl_distill.rollout.vllm_transfer import connection, open_sender

    first, second = (connection("nccl", rank, source, address=PLACE, num_receivers=6, max_bytes=1) for rank in (0, 1))
    assert first.is_sender and not second.is_sender and (first.backend, first.world_size) == ("nccl", 7)
    assert (first.master_address, first.master_port) == PLACE
    shared = {name: value for name, value in asdict(first).items() if name != "rank"}
    told = NCCLWeightTransferInitInfo(rank_offset=1, **shared)
    assert told.packed is False and {one.name for one in fields(told)} >= {"rank_offset", "world_size"}
    sender = open_sender(second, client=None, source=source)
    sender.send_weights()
    assert len(source.digests) > 10


@pytest.mark.parametrize("max_bytes", [100, 10**6])
def test_a_bucket_of_ipc_holds_the_largest_tensor_whatever_the_recipe_says(source: Any, max_bytes: int) -> None:
    from vllm.distributed.weight_transfer.ipc_engine import IPCWeightTransferInitInfo

    from rl_distill.rollout.vllm_transfer import connection

    info = connection("ipc", 0, source, address=PLACE, num_receivers=1, max_bytes=max_bytes)
    largest = max(tensor.nbytes for _, tensor in source)
    assert info.packed and info.packed_buffer_size_bytes == max(max_bytes, largest) and info.backend == "ipc"
    assert IPCWeightTransferInitInfo(packed=info.packed).packed
