"""What runs inside vLLM's worker processes: taking weights in through its own interface, and reporting what arrived.

vLLM fuses matrices (`qkv_proj`, `gate_up_proj`), pads vocabularies, cuts tensors across ranks and on a CPU packs matrices into
a form of their kernels. The report undoes all of it: tensors under transformers' names, as the layers compute with them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import WeightTransferConfig
from vllm.distributed import tensor_model_parallel_all_gather
from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.layers.linear import ColumnParallelLinear, QKVParallelLinear, RowParallelLinear
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from rl_distill.models.digest import tensor_digest
from rl_distill.rollout.vllm_config import HOST_TRANSFER


@dataclass
class HostInit(WeightTransferInitInfo):
    """Nothing to agree on."""


@dataclass
class HostUpdate(WeightTransferUpdateInfo):
    """Some of the weights, by transformers' names: in this process's memory, or copied here by vLLM's own message queue."""

    tensors: dict[str, Tensor] = field(default_factory=dict)


class HostTransfer(WeightTransferEngine[HostInit, HostUpdate]):
    """The transport for any device: tensors come with the call and go through the same reload as with NCCL and IPC."""

    init_info_cls = HostInit
    update_info_cls = HostUpdate

    def init_transfer_engine(self, init_info: HostInit) -> None:
        """No connection to make."""

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: HostUpdate) -> None:
        self.model.load_weights(iter(update_info.tensors.items()))

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Nothing to close."""


WeightTransferEngineFactory.register_engine(HOST_TRANSFER, HostTransfer)


class HeldWeights:
    """Mixed into vLLM's worker class; its methods answer `collective_rpc`, on all ranks in step."""

    def use_transfer(self: Any, backend: str) -> None:
        """Have the calls of a weight update go to this transport, which is made when it is first used."""
        transports = self.__dict__.setdefault("_transports", {HOST_TRANSFER: self.weight_transfer_engine})
        if backend not in transports:
            settings = WeightTransferConfig(backend=backend)
            model = self.get_model()
            transports[backend] = WeightTransferEngineFactory.create_engine(settings, self.vllm_config, self.device, model)
        self.weight_transfer_engine = transports[backend]

    def weight_shapes(self: Any) -> dict[str, tuple[int, ...]]:
        """Shapes of the whole tensors, by transformers' names."""
        return {name: tuple(tensor.shape) for name, tensor in held_weights(self.get_model(), read=_of_its_shape)}

    def weight_digests(self: Any) -> dict[str, str]:
        """Digests of the whole tensors, by transformers' names; a tied output layer that has a copy is listed beside its twin."""
        return {name: tensor_digest(tensor) for name, tensor in held_weights(self.get_model())}


def _as_computed_with(module: Any, kind: str, parameter: Tensor) -> Tensor:
    """This rank's part of a parameter. A matrix that a CPU kernel has packed is read back by multiplying the identity: exact,
    and quick for the small models that a CPU is for.

    The output layer's too: with tied embeddings its packed copy can be older than the table that `parameter` shows.
    """
    if not _is_packed(module, kind):
        return parameter
    identity = torch.eye(module.input_size_per_partition, dtype=parameter.dtype)
    return module.cpu_linear(identity, parameter, None).t().contiguous()


def _of_its_shape(module: Any, kind: str, parameter: Tensor) -> Tensor:
    """Some tensor of the shape that `_as_computed_with` gives, for nothing."""
    sizes = (module.output_size_per_partition, module.input_size_per_partition) if _is_packed(module, kind) else parameter.shape
    return parameter.new_empty(sizes)


def _is_packed(module: nn.Module, kind: str) -> bool:
    looked_up = isinstance(module, VocabParallelEmbedding) and not isinstance(module, ParallelLMHead)
    return kind == "weight" and hasattr(module, "cpu_linear") and not looked_up


@torch.no_grad()
def held_weights(
    model: Any, read: Callable[[nn.Module, str, Tensor], Tensor] = _as_computed_with
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that the model computes with, whole and one at a time. Ranks of a tensor-parallel group call it in step.

    Args:
        read: this rank's part of a module's parameter of a kind, such as "weight".
    """
    fused: dict[str, list[str]] = getattr(model, "packed_modules_mapping", {})
    for path, module in model.named_modules():
        prefix, _, leaf = path.rpartition(".")
        for kind, parameter in module._parameters.items():
            if parameter is None:
                continue
            shard = read(module, kind, parameter.detach())
            if leaf not in fused:
                yield f"{path}.{kind}", _whole(module, kind, shard)
                continue
            for part, tensor in zip(fused[leaf], _parts(module, shard), strict=True):
                yield f"{prefix}.{part}.{kind}", tensor


def _whole(module: nn.Module, kind: str, shard: Tensor) -> Tensor:
    """A parameter that is not fused, put together from all ranks and without padding."""
    if isinstance(module, VocabParallelEmbedding):
        return _gathered(module, shard, 0)[: module.org_vocab_size]
    if isinstance(module, RowParallelLinear):
        return _gathered(module, shard, 1) if kind == "weight" else shard
    return _gathered(module, shard, 0) if isinstance(module, ColumnParallelLinear) else shard


def _parts(module: Any, shard: Tensor) -> Iterator[Tensor]:
    """The matrices that vLLM has fused into one, each put together from all ranks."""
    sizes = [size // module.tp_size for size in module.output_sizes]
    for index, part in enumerate(shard.split(sizes)):
        whole = _gathered(module, part.contiguous(), 0)
        copies = module.num_kv_head_replicas if isinstance(module, QKVParallelLinear) and index > 0 else 1
        if copies > 1:  # more ranks than key heads: neighbors hold the same head
            whole = whole.unflatten(0, (-1, copies, sizes[index]))[:, 0].flatten(0, 1)
        yield whole


def _gathered(module: Any, shard: Tensor, dim: int) -> Tensor:
    return shard if module.tp_size == 1 else tensor_model_parallel_all_gather(shard.contiguous(), dim)
