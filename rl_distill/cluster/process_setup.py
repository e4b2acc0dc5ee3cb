"""What a worker's process is before it imports anything heavy: environment variables, threads, network interface."""

import os
import socket
from collections.abc import Mapping
from typing import Any

import psutil
import ray

QUIET = ("PYTHONWARNINGS", "ignore::FutureWarning,ignore::UserWarning")  # torch's about calls that DeepSpeed makes


def runtime_env(*, threads: int, **variables: str) -> dict[str, Any]:
    """For a worker of a run: the driver's own settings of this package and of model hubs go with it."""
    inherited = ("RL_DISTILL_", "HF_", "WANDB_MODE", "TOKENIZERS_PARALLELISM", "NCCL_", "GLOO_", "VLLM_", "PYTHONPATH")
    passed = {name: value for name, value in os.environ.items() if name.startswith(inherited)}
    names = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), QUIET[0]: QUIET[1]}
    return {"env_vars": {**passed, **names, **variables}}


def set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def free_address() -> tuple[str, int]:
    """This host's address within the cluster and a port that is free on it."""
    address = ray.util.get_node_ip_address()
    with socket.socket() as probe:
        probe.bind((address, 0))
        return address, int(probe.getsockname()[1])


def use_interface_of_cluster() -> None:
    """Have gloo and nccl talk over the interface that Ray talks over: by name they would resolve to 127.0.0.1 on many hosts."""
    name = interface_of(ray.util.get_node_ip_address(), psutil.net_if_addrs())
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", name)


def interface_of(address: str, interfaces: Mapping[str, Any]) -> str:
    """The network interface that owns an address; the loopback for an address that none owns."""
    for name, addresses in interfaces.items():
        if any(entry.address == address for entry in addresses):
            return name
    return "lo"
