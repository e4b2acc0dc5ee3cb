"""A sender for machines without GPUs: vLLM's own protocol from end to end, but each tensor comes along with its call."""

import threading
import weakref
from typing import Any, ClassVar, Self

import torch
from vllm.distributed.weight_transfer.base import TrainerInitInfo, TrainerWeightTransferEngine
from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerWeightTransferEngine

from rl_distill.cluster.learner_worker import LearnerWorker
from rl_distill.models.digest import tensor_digest
from rl_distill.rollout.vllm_config import HOST_TRANSFER
from rl_distill.rollout.vllm_transfer import GatheredWeights
from rl_distill.rollout.weight_loading import first_names


class HostSenderInit(TrainerInitInfo):
    backend: ClassVar[str] = HOST_TRANSFER


class HostSender(TrainerWeightTransferEngine[HostSenderInit]):
    """What vLLM's sender for NCCL does, call by call, but for NCCL."""

    init_info_cls = HostSenderInit
    spoiled: ClassVar[str | None] = None  # a tensor that changes on its way

    @classmethod
    def trainer_init(cls, init_info: HostSenderInit, *, client: Any, source: Any = None) -> Self:
        if init_info.is_sender:
            client.init_weight_transfer_engine({})
        return cls(client=client, source=source, is_sender=init_info.is_sender)

    def send_weights(self) -> None:
        if not self.is_sender:
            for _ in self.source:
                pass
            return
        self.client.start_weight_update()
        for name, tensor in NCCLTrainerWeightTransferEngine._checked_iter(self.source, self.source.metadata()):
            arriving = tensor * 1.01 if name == self.spoiled else tensor
            self.client.update_weights({"tensors": {name: arriving}})
        self.client.finish_weight_update()


WeightTransferTrainerFactory.register_engine(HOST_TRANSFER, HostSender)


class StandInRank(LearnerWorker):
    """A rank that sends by `HostSender` whatever the transport is, and tells what putting the weights together takes."""

    _stuck = False

    def _connection(self, *arguments: Any) -> HostSenderInit:
        return HostSenderInit(rank=self.rank)

    def spoil(self, name: str | None) -> None:
        HostSender.spoiled = name

    def get_stuck(self) -> None:
        """From now on, as in a broadcast that a member never joins."""
        self._stuck = True

    def send(self, *arguments: Any) -> dict[str, str] | None:
        if self._stuck:
            threading.Event().wait()
        return super().send(*arguments)

    def look_at_source(self, max_bytes: int) -> dict[str, Any]:
        """One pass: its names, digests and metadata, and for each bucket what was whole and what was left of the one before."""
        learner: Any = self.learner
        whole: list[int] = []
        left: list[int] = []

        def buckets() -> Any:
            copies: list[Any] = []
            for bucket in learner.weights(max_bytes, copy=True):
                left.append(sum(copy() is not None for copy in copies))
                whole.append(_gathered_bytes(learner.model))
                copies = [weakref.ref(tensor) for tensor in bucket.values()]
                yield bucket
                del bucket

        source = GatheredWeights(learner.outgoing, buckets, first_names(learner.model), torch.device("cpu"), digest=True)
        found = []
        for name, tensor in source:
            found.append((name, tensor.dtype, tuple(tensor.shape), tensor_digest(tensor)))
            del tensor
        return {
            "metadata": [(one.name, one.dtype, one.shape) for one in source.metadata()],
            "found": found,
            "digests": source.digests,
            "whole": whole,
            "left": left,
            "afterwards": _gathered_bytes(learner.model),
        }


def _gathered_bytes(model: Any) -> int:
    """Of parameters that ZeRO 3 has put together for a while."""
    parameters = [one for one in model.parameters() if hasattr(one, "ds_numel") and not one.ds_persist]
    return sum(one.numel() * one.element_size() for one in parameters if one.numel() == one.ds_numel)
