"""The least memory that a run's models take, from their sizes alone: what cannot fit is refused before anything starts.

Activations, keys and values and the libraries themselves come on top, so that what passes here may still not fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rl_distill.cluster.machine import Machine
from rl_distill.cluster.settings import LearnerPlaces, RayCluster
from rl_distill.errors import InputError

PROCESS_BYTES = 300 * 2**20  # of a worker that has imported what it needs and holds no model yet; pages it shares are not counted
FLOAT32 = 4  # bytes of a weight, of its gradient, of each of AdamW's two moments
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """
    trained       number of weights that are trained
    frozen        number of those beside which adapters are trained
    weight_bytes  of one weight in an engine
    scoring       number of weights of the largest reference or teacher; None where it is a student of the run, or not known
    """

    trained: int
    frozen: int
    weight_bytes: int
    scoring: int | None = None

    @property
    def weights(self) -> int:
        return self.trained + self.frozen


@dataclass(frozen=True, slots=True)
class RankMemory:
    """Bytes that one learner rank holds on its device, and in its host's memory because of off-loading."""

    device: float
    host: float


def rank_memory(size: ModelSize, places: LearnerPlaces) -> RankMemory:
    """Weights, gradients and AdamW's state in float32, cut over the ranks as ZeRO's stage says (arXiv:1910.02054, section 5).

    From stage 1 on, an optimizer works on a copy of its part of the weights.
    """
    stage, share = places.zero_stage, 1 / places.ranks
    weights = FLOAT32 * size.weights * (share if stage == 3 else 1)
    gradients = FLOAT32 * size.trained * (share if stage >= 2 else 1)
    optimizer = FLOAT32 * size.trained * (3 * share if stage else 2)
    if places.offload == "none":
        return RankMemory(weights + gradients + optimizer, 0.0)
    if places.offload == "optimizer":
        return RankMemory(weights + gradients, optimizer)
    return RankMemory(gradients, weights + optimizer)


def check_memory(settings: RayCluster, size: ModelSize, machines: Sequence[Machine], roles: frozenset[str]) -> str:
    """See whether the models of a run can fit; returns the account in words.

    Raises:
        InputError: they cannot, with the numbers.
    """
    devices = [amount for machine in machines for amount in machine.device_bytes]
    host = sum(machine.memory_bytes for machine in machines)
    _check_processes(settings, host, roles)
    places, rank = settings.learner, rank_memory(size, settings.learner)
    account = f"{_billions(size.weights)} weights, ZeRO {places.zero_stage}, {places.ranks} ranks"
    if not devices:
        needed = places.ranks * (rank.device + rank.host) + _beside_learner(settings, size, roles)
        if needed > host:
            raise _refused(places, f"needs {in_words(needed)} of host memory with what samples and scores ({account})", host)
        return f"{in_words(needed)} or more of {in_words(host)} ({account})"
    if rank.device > max(devices):
        raise _refused(places, f"needs {in_words(rank.device)} of device memory in each rank ({account})", max(devices))
    if places.ranks * rank.host > host:
        problem = f"{places.offload} keeps {in_words(places.ranks * rank.host)} in host memory ({account})"
        raise _refused(places, problem, host)
    account = f"{in_words(rank.device)} or more of {in_words(max(devices))} in each rank ({account})"
    return account + (f", {in_words(places.ranks * rank.host)} of {in_words(host)} off-loaded" if rank.host else "")


def _check_processes(settings: RayCluster, host: float, roles: frozenset[str]) -> None:
    """The processes themselves, whatever they hold: a cluster of this run hands out as many cores as are asked for."""
    every = {"learner": settings.learner.ranks, "engine": settings.engine.workers, "scorer": settings.scorer.workers}
    counts = {name: count for name, count in every.items() if name in roles}
    needed = sum(counts.values()) * PROCESS_BYTES
    if needed > host:
        account = ", ".join(f"{name} {count}" for name, count in counts.items())
        problem = f"asks for {sum(counts.values())} processes ({account}), which take {in_words(needed)} before they hold a model"
        remedy = "lower learner.ranks, engine.workers or scorer.workers, or join a larger cluster by its address"
        raise InputError("cluster", f"{problem}, and there are {in_words(host)}", remedy)


def store_bytes(size: ModelSize) -> int:
    """Of one version of the weights on its way to the engines."""
    return size.weights * size.weight_bytes


def _beside_learner(settings: RayCluster, size: ModelSize, roles: frozenset[str]) -> float:
    """Of engines and scorers that share host memory with the learner."""
    engines = settings.engine.workers * size.weights * size.weight_bytes if "engine" in roles else 0
    scoring = size.weights if size.scoring is None else size.scoring
    scorers = settings.scorer.workers * scoring * FLOAT32 if "scorer" in roles else 0
    return engines + scorers


def _refused(places: LearnerPlaces, problem: str, have: float) -> InputError:
    field = "cluster.learner" if places.offload == "none" else "cluster.learner.offload"
    more = "a higher zero_stage with more ranks, " if places.zero_stage < 3 else "more ranks on more hosts, "
    remedy = f"use {more}a smaller student, or adapters (student.lora)"
    return InputError(field, f"{problem}, and there are {in_words(have)}", remedy)


def in_words(amount: float) -> str:
    """Bytes for people."""
    return f"{amount / GIB:.1f} GiB" if amount >= GIB / 10 else f"{amount / 2**20:.1f} MiB"


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e8 else f"{count / 1e6:.2f} million"
