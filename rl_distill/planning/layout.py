"""Where a step runs: processes on devices, and what each of them costs there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from rl_distill.cluster.settings import LearnerPlaces, RayCluster
from rl_distill.planning.decoding import Batching, shard_work
from rl_distill.planning.footprint import EngineFootprint, RankFootprint, engine_footprint, rank_footprint, rows_that_fit
from rl_distill.planning.hardware import Hardware
from rl_distill.planning.learning_cost import divide, exchanged_bytes, micro_batch_work, pack, update_bytes
from rl_distill.planning.work import Work, decode_speed, learn_speed, seconds
from rl_distill.planning.workload import Workload
from rl_distill.recipe import Recipe
from rl_distill.rollout.engine import torch_dtype
from rl_distill.training.model_shape import ModelShape

MEMORY_FRACTION = 0.9  # of a device that models may fill; the rest is the libraries' and fragmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Processes and where they run.

    local            everything in one process, on one device
    colocate         ranks and engines share devices and take turns
    tensor_parallel  devices of one engine
    hosts            that the devices are spread over
    """

    engines: int
    learner: LearnerPlaces
    scorers: int
    tensor_parallel: int = 1
    colocate: bool = False
    local: bool = False
    transport: str = "object_store"
    hosts: int = 1

    @property
    def devices(self) -> int:
        if self.local:
            return 1
        engines = self.engines * self.tensor_parallel
        return self.scorers + (max(self.learner.ranks, engines) if self.colocate else self.learner.ranks + engines)

    def on_a_host(self, processes: int) -> int:
        """Of so many processes those of the fullest host."""
        return -(-processes // self.hosts)

    @property
    def turns(self) -> bool:
        """Whether sampling and training keep each other waiting, however far one may run ahead."""
        return self.local or self.colocate


def layout_of(recipe: Recipe, *, hosts: int | None, devices_per_host: int) -> Layout:
    """The recipe's own; `hosts` None is as few as hold it."""
    cluster, roles = recipe.cluster, recipe.roles
    if not isinstance(cluster, RayCluster):
        return Layout(engines=1, learner=LearnerPlaces(), scorers=0, local=True)
    made = Layout(
        engines=cluster.engine.workers if "engine" in roles else 0,
        learner=cluster.learner,
        scorers=cluster.scorer.workers if "scorer" in roles else 0,
        tensor_parallel=getattr(recipe.engine, "tensor_parallel", 1),
        colocate=cluster.colocate,
        transport=cluster.transport,
    )
    return replace(made, hosts=hosts or -(-made.devices // devices_per_host))


def shard_seconds(work: Workload, layout: Layout, hardware: Hardware) -> list[float]:
    """Of each shard of a step on one engine: prefill, decoding, the attempts' records, on a cluster its way there and back."""
    batching, found = fitted(work, layout, hardware), []
    speed = decode_speed(hardware, engine=batching.engine, dtype=_dtype(batching), devices=layout.tensor_parallel)
    crowded = hardware.slowdown(layout.on_a_host(layout.engines))
    way = 0.0 if layout.local else hardware.shard_seconds.value
    for wave in work.waves:  # waves that wait for each other are taken not to: engines have shards enough to be busy
        for start in range(0, len(wave.responses), work.shard_size):
            part = wave.responses[start : start + work.shard_size]
            taken = seconds(shard_work(work.shape, batching, part, prompt=wave.prompt, group_size=wave.group_size), speed)
            found.append(crowded * (taken + len(part) * hardware.attempt_seconds.value) + way)
    return found


def fitted(work: Workload, layout: Layout, hardware: Hardware) -> Batching:
    """The engine's batching with as many rows as its memory has room for; at least one, see `footprint.rows_that_fit`."""
    if hardware.kind == "cpu":
        return work.batching
    memory = MEMORY_FRACTION * hardware.memory_bytes.value * layout.tensor_parallel * (0.5 if layout.turns else 1.0)
    mean = work.prompt + work.sampled_tokens / max(1, len(work.responses))
    rows = rows_that_fit(work.shape, work.batching, longest=work.longest, mean=mean, memory=memory)
    return replace(work.batching, max_rows=max(1, rows))


def score_seconds(work: Workload, hardware: Hardware) -> float:
    """Of the rewards of a step."""
    return len(work.responses) * hardware.score_seconds.value


def credit_seconds(work: Workload, layout: Layout, hardware: Hardware) -> float:
    """Of log-probs by references and teachers, shared by the scorers, and by the learner before it updates, by its ranks."""
    speed = learn_speed(hardware, precision=work.learner.precision)
    parts = pack(work.units, work.learner.micro_batch_tokens)
    bytes_each = _weight_bytes(work)

    def one_pass(shape: ModelShape) -> float:
        works = [micro_batch_work(shape, part, checkpointing=False, weight_bytes=bytes_each, forward=True) for part in parts]
        return sum(seconds(work, speed) for work in works)

    scored = sum(one_pass(model.shape) for model in work.scored) / max(1, layout.scorers)
    return scored + work.rescored * one_pass(work.shape) / layout.learner.ranks


def train_seconds(work: Workload, layout: Layout, hardware: Hardware) -> float:
    """Of the optimizer steps of a round: the slowest rank's passes, the exchange of gradients (not overlapped), the update.

    As if every attempt had credit: nobody knows beforehand how many groups will be flat, which are run forward only.
    """
    places, learner = layout.learner, work.learner
    speed = learn_speed(hardware, precision=learner.precision)
    crowded, total = hardware.slowdown(layout.on_a_host(places.ranks)), 0.0
    for units in _mini_batches(work):
        shares = [pack(share, learner.micro_batch_tokens) for share in divide(units, places.ranks)]
        passes = max(map(len, shares))
        works = [
            [
                micro_batch_work(work.shape, part, checkpointing=learner.gradient_checkpointing, weight_bytes=_weight_bytes(work))
                for part in share
            ]
            for share in shares
        ]
        total += crowded * max(seconds(reduce(add, share, Work()), speed) for share in works)
        total += exchanged_bytes(work.shape, places, passes) / _link(layout, hardware)
        total += update_bytes(work.shape, places) / hardware.bandwidth.value
        total += 0.0 if layout.local else hardware.rank_step_seconds.value
    return total


def sync_seconds(work: Workload, layout: Layout, hardware: Hardware) -> float:
    """Of an update of the weights: gathered (ZeRO 3), sent, loaded by all engines at once, digested on both sides."""
    if not work.online:
        return 0.0
    size, shape, places = work.shape.outgoing_bytes, work.shape, layout.learner
    gathered = size * (places.ranks - 1) / places.ranks / _link(layout, hardware) if places.zero_stage == 3 else 0.0
    own = shape.tensors * hardware.tensor_seconds.value
    if layout.transport == "nccl":
        return gathered + own + size / _link(layout, hardware)
    if layout.transport == "ipc":
        return gathered + own + 2 * size / hardware.bandwidth.value
    calls = 0.0 if layout.local else 2 * hardware.shard_seconds.value
    rate = hardware.host_copy if layout.local else hardware.store_copy
    return gathered + own + calls + size / rate.value + (layout.hosts - 1) * size / hardware.network.value


def rank_memory_of(work: Workload, layout: Layout) -> RankFootprint:
    """What a learner rank holds."""
    parts = pack(work.units, work.learner.micro_batch_tokens)
    return rank_footprint(
        work.shape,
        layout.learner,
        max(parts, key=lambda part: part.rows * part.width),
        precision=work.learner.precision,
        checkpointing=work.learner.gradient_checkpointing,
        chunk_tokens=work.learner.logprob_chunk_tokens,
    )


def engine_memory_of(work: Workload, layout: Layout, hardware: Hardware) -> EngineFootprint | None:
    """What an engine holds; None where nothing is sampled."""
    if not work.online:
        return None
    mean = work.prompt + work.sampled_tokens / len(work.responses)
    return engine_footprint(work.shape, fitted(work, layout, hardware), longest=work.longest, mean=mean)


def fits(work: Workload, layout: Layout, hardware: Hardware) -> bool:
    """Whether devices hold what a layout puts on them; on CPUs, whether all of it together fits."""
    room, rank, engine = (
        MEMORY_FRACTION * hardware.memory_bytes.value,
        rank_memory_of(work, layout),
        engine_memory_of(work, layout, hardware),
    )
    sampling = engine.device if engine else 0.0
    if hardware.kind == "cpu":
        return layout.learner.ranks * (rank.device + rank.host) + layout.engines * sampling <= room
    sampling /= layout.tensor_parallel
    if layout.turns:
        return rank.device + sampling <= room
    return rank.device <= room and sampling <= room


def _mini_batches(work: Workload) -> Sequence[Sequence[tuple[tuple[int, int], ...]]]:
    count = min(work.mini_batches, len(work.units))
    bounds = [len(work.units) * part // count for part in range(count + 1)]
    return [work.units[low:high] for low, high in zip(bounds, bounds[1:], strict=False)]


def _link(layout: Layout, hardware: Hardware) -> float:
    return (hardware.network if layout.hosts > 1 else hardware.link).value


def _dtype(batching: Batching) -> str:
    return "float32" if batching.weight_bytes == 4 else "bfloat16"


def _weight_bytes(work: Workload) -> int:
    return torch_dtype(work.learner.precision).itemsize
