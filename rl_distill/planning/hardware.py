"""What one device does, and what the software on it costs: numbers that each say where they come from."""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rl_distill.config import config, parse, read_yaml, setting
from rl_distill.errors import InputError

TABLE = Path(__file__).with_name("hardware.yaml")
Origin = Literal["datasheet", "measured", "assumed"]


@config
class Number:
    """A value with where it comes from."""

    value: float = setting(about="in the unit of its field", ge=0)
    origin: Origin = setting("assumed", about="how it is known")
    source: str = setting("", about="where it stands, or why it is assumed")


@config
class Hardware:
    """A device, its links, and the overheads of the software that runs on it."""

    name: str = setting(about="of the device")
    kind: Literal["gpu", "cpu"] = setting("gpu", about="whether devices have memory of their own")
    memory_bytes: Number = setting(about="of one device; of a CPU what all processes share", unit="bytes")
    bandwidth: Number = setting(about="of its memory", unit="bytes/s")
    flops_bfloat16: Number = setting(about="dense matrix products in bfloat16", unit="FLOP/s")
    flops_float32: Number = setting(about="dense matrix products in float32", unit="FLOP/s")
    link: Number = setting(about="between two devices of a host, one direction", unit="bytes/s")
    network: Number = setting(about="between hosts, for each device, one direction", unit="bytes/s")
    devices_per_host: Number = setting(about="devices that `link` joins", unit="devices")
    crowding: Number = setting(about="times as long as alone that work takes when all devices of a host work", unit="times")
    decode_flops_fraction: Number = setting(about="of the FLOP/s that sampling reaches", unit="fraction")
    decode_bandwidth_fraction: Number = setting(about="of the bandwidth that sampling reaches", unit="fraction")
    learn_flops_fraction: Number = setting(about="of the FLOP/s that training reaches", unit="fraction")
    hf_pass_seconds: Number = setting(about="engine hf: a step of decoding, beside its layers", unit="s")
    hf_layer_seconds: Number = setting(about="engine hf: each layer of it", unit="s")
    vllm_pass_seconds: Number = setting(about="engine vllm: a step of decoding, beside its layers", unit="s")
    vllm_layer_seconds: Number = setting(about="engine vllm: each layer of it", unit="s")
    decode_value_seconds: Number = setting(about="sampling: each activation that is computed", unit="s")
    learn_pass_seconds: Number = setting(about="training: a micro-batch, beside its layers", unit="s")
    learn_layer_seconds: Number = setting(about="training: each layer of it", unit="s")
    learn_value_seconds: Number = setting(about="training: each activation that is kept", unit="s")
    host_copy: Number = setting(about="weights from learner to engine within a process", unit="bytes/s")
    store_copy: Number = setting(about="weights from learner to engine through Ray's object store", unit="bytes/s")
    tensor_seconds: Number = setting(about="each tensor of an update on its way", unit="s")
    attempt_seconds: Number = setting(about="an attempt's text and record", unit="s")
    score_seconds: Number = setting(about="an attempt's reward", unit="s")
    shard_seconds: Number = setting(about="on a cluster: a shard's way to a worker and back", unit="s")
    rank_step_seconds: Number = setting(about="on a cluster: an optimizer step's, beside its arithmetic", unit="s")

    def numbers(self) -> dict[str, Number]:
        """Every number by its key."""
        return {field.name: value for field in fields(self) if isinstance(value := getattr(self, field.name), Number)}

    def slowdown(self, processes: int) -> float:
        """How many times as long each of so many processes takes that work at once on one host, than one alone.

        Up to a process for each device it grows evenly to `crowding`; more processes than a CPU has cores for share those too.
        """
        devices = self.devices_per_host.value
        others = min(1.0, max(0, processes - 1) / max(1.0, devices - 1))
        shared = max(1.0, processes / devices) if self.kind == "cpu" else 1.0
        return (1 + (self.crowding.value - 1) * others) * shared

    def flops(self, dtype: str) -> float:
        """FLOP/s of matrix products in "float32" or "bfloat16"."""
        return self.flops_float32.value if dtype == "float32" else self.flops_bfloat16.value


def gpu(name: str) -> Hardware:
    """A GPU of the table, whatever the case and the signs in its name.

    Raises:
        InputError: the table does not have it.
    """
    known = gpus()
    found = next((known[key] for key in known if _plain(key) == _plain(name)), None)
    if found is None:
        raise InputError(
            "--gpu", f"{name!r} is not in the table", f"choose one of {', '.join(known)}, or describe it in --machine FILE"
        )
    return found


@cache
def gpus() -> dict[str, Hardware]:
    """The table, by name."""
    tree = read_yaml(TABLE)
    return {name: _from_row(name, dict(row), tree["assumed"]) for name, row in tree["gpus"].items()}


def read_machine(path: Path) -> Hardware:
    """A machine described in a file: the keys of `Hardware`; what it leaves out is what the table assumes of every GPU.

    Raises:
        InputError: it cannot be read, or a key is unknown, missing or no number.
    """
    if not path.is_file():
        raise InputError("--machine", f"there is no file {str(path)!r}", "give a YAML file")
    tree = read_yaml(path)
    tree = tree.get("hardware", tree)
    return _from_row(str(tree.pop("name", path.stem)), tree, read_yaml(TABLE)["assumed"])


def _from_row(name: str, row: dict[str, Any], assumed: Mapping[str, Any]) -> Hardware:
    """A bare number of a row is from its datasheet; one with a source of its own is assumed, unless it says otherwise."""
    source, kind = str(row.pop("source", "")), str(row.pop("kind", "gpu"))
    own = {
        key: value if isinstance(value, dict) else {"value": value, "origin": "datasheet", "source": source}
        for key, value in row.items()
    }
    return parse(Hardware, {"name": name, "kind": kind, **assumed, **own})


def _plain(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign.isalnum()).removeprefix("nvidia")
