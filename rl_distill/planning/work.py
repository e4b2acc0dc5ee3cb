"""Work as counts, and what counts cost: every second that the planner tells of goes through `seconds`."""

from dataclasses import dataclass

from rl_distill.planning.hardware import Hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """
    passes  forward passes (steps of decoding), or forward and backward ones (micro-batches)
    layers  layers in all of them
    flops   of matrix products
    bytes   of memory that must be read
    values  activations that are computed
    """

    passes: float = 0.0
    layers: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0
    values: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            passes=self.passes + other.passes,
            layers=self.layers + other.layers,
            flops=self.flops + other.flops,
            bytes=self.bytes + other.bytes,
            values=self.values + other.values,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What one device needs for work of one kind: seconds for each pass, layer and value, FLOP/s and bytes/s that it reaches."""

    pass_seconds: float
    layer_seconds: float
    value_seconds: float
    flops: float
    bandwidth: float


def seconds(work: Work, speed: Speed) -> float:
    """Overhead + max(FLOPs / rate, bytes / bandwidth): the roofline model (Williams et al., CACM 52(4), 2009), where a pass has a
    fixed cost and each activation one of its own (on GPUs that is part of the rates).
    """
    overhead = work.passes * speed.pass_seconds + work.layers * speed.layer_seconds + work.values * speed.value_seconds
    return overhead + max(work.flops / speed.flops, work.bytes / speed.bandwidth)


def decode_speed(hardware: Hardware, *, engine: str, dtype: str, devices: int = 1) -> Speed:
    """Of an engine ("hf", "vllm") on so many devices that share each matrix (tensor parallelism, without its traffic)."""
    vllm = engine == "vllm"
    return Speed(
        pass_seconds=(hardware.vllm_pass_seconds if vllm else hardware.hf_pass_seconds).value,
        layer_seconds=(hardware.vllm_layer_seconds if vllm else hardware.hf_layer_seconds).value,
        value_seconds=hardware.decode_value_seconds.value,
        flops=devices * hardware.decode_flops_fraction.value * hardware.flops(dtype),
        bandwidth=devices * hardware.decode_bandwidth_fraction.value * hardware.bandwidth.value,
    )


def learn_speed(hardware: Hardware, *, precision: str) -> Speed:
    """Of one learner rank."""
    return Speed(
        pass_seconds=hardware.learn_pass_seconds.value,
        layer_seconds=hardware.learn_layer_seconds.value,
        value_seconds=hardware.learn_value_seconds.value,
        flops=hardware.learn_flops_fraction.value * hardware.flops(precision),
        bandwidth=hardware.bandwidth.value,
    )
