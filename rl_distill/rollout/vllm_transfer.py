"""A learner's end of vLLM's own weight transfer: weights go from device to device, through NCCL or CUDA IPC.

vLLM's sender drives it. On every rank it goes through a source, which puts the weights together; the first rank also makes the
four calls of a weight update (`init_weight_transfer_engine`, `start_weight_update`, `update_weights`, `finish_weight_update`)
to the engines, by a client that knows where they live.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    ParamMeta,
    TrainerInitInfo,
    TrainerWeightTransferEngine,
    VLLMWeightSyncClient,
    WeightSource,
)
from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

from rl_distill.errors import RunError
from rl_distill.models.digest import tensor_digest
from rl_distill.models.outgoing import OutgoingWeights


class GatheredWeights(WeightSource):
    """What a learner sends, in buckets of which each is let go before the next is put together.

    A tied weight comes under all its names, one after the other: on a CPU vLLM holds a packed copy for each.

    Args:
        buckets: begins to put the weights together, in the order of `outgoing.shapes`; every rank goes through all of them.
        names: every name of every weight -> the name it is known by; see `weight_loading.first_names`.
        device: that they are sent from.

    Attributes:
        digests: of what the newest pass has yielded, by the names that weights are known by; {} without `digest`.
    """

    def __init__(
        self,
        outgoing: OutgoingWeights,
        buckets: Callable[[], Iterator[dict[str, Tensor]]],
        names: Mapping[str, str],
        device: torch.device,
        *,
        digest: bool,
    ) -> None:
        self._outgoing, self._buckets, self._device, self._digest = outgoing, buckets, device, digest
        self._names: dict[str, list[str]] = {own: [] for own in outgoing.shapes}
        for name, own in names.items():
            if own in self._names:
                self._names[own].append(name)
        self.digests: dict[str, str] = {}

    def metadata(self) -> list[ParamMeta]:
        dtype, shapes = self._outgoing.dtype, self._outgoing.shapes
        return [ParamMeta(name, dtype, shapes[own]) for own, names in self._names.items() for name in names]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        self.digests = {}
        for bucket in self._buckets():
            for own in list(bucket):
                tensor = bucket.pop(own).to(self._device)
                if self._digest:
                    self.digests[own] = tensor_digest(tensor)
                for name in self._names[own]:
                    yield name, tensor
                del tensor

    @property
    def largest_bytes(self) -> int:
        """Of one tensor."""
        return max(math.prod(one.shape) * one.dtype.itemsize for one in self.metadata())


def connection(
    transport: Literal["nccl", "ipc"],
    rank: int,
    source: GatheredWeights,
    *,
    address: tuple[str, int],
    num_receivers: int,
    max_bytes: int,
) -> TrainerInitInfo:
    """What a sender of this rank is opened with.

    Args:
        address: host and free port of the first rank, where NCCL's members meet.
        num_receivers: devices that engines hold a model or a part of one on.
        max_bytes: of a bucket; at most as much again is held for NCCL or IPC, or the largest tensor if that is larger.
    """
    if transport == "nccl":
        # Tensor by tensor: packed, vLLM would hold further buckets, and put weights together on streams of its own.
        host, port = address
        return NCCLTrainerInitInfo(host, port, 1 + num_receivers, packed=False, rank=rank)
    # Packed: else vLLM would hold the whole model until the last tensor is read.
    return IPCTrainerInitInfo(packed=True, packed_buffer_size_bytes=max(max_bytes, source.largest_bytes), rank=rank)


def open_sender(info: TrainerInitInfo, client: VLLMWeightSyncClient, source: WeightSource) -> TrainerWeightTransferEngine[Any]:
    """Meet the engines; every rank of the learner does so at once.

    Raises:
        RunError: there is no NCCL here, and vLLM would send nothing without a word.
    """
    sender = WeightTransferTrainerFactory.trainer_init(info, client=client, source=source)
    group = getattr(sender, "model_update_group", None)
    if group is not None and group.disabled:
        raise RunError("vLLM finds no NCCL library, or VLLM_DISABLE_PYNCCL is set: set cluster.transport to object_store")
    return sender
