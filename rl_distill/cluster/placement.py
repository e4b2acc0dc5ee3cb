"""Which devices each worker gets: everything is reserved at once, before anything expensive starts."""

from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rl_distill.cluster.session import num_gpus_in_cluster
from rl_distill.cluster.settings import RayCluster
from rl_distill.errors import InputError

SHARED = 0.5  # of a device, for a learner rank and an engine worker that live on it together
RESERVE_SECONDS = 60.0


Place = dict[str, Any]  # where one worker runs: options of a Ray actor


@dataclass(frozen=True, slots=True)
class _Role:
    """How many workers of a kind there are, and what each of them takes."""

    count: int
    cpus: float
    gpus: float

    def amount(self, kind: str) -> float:
        return self.gpus if kind == "GPU" else self.cpus


class Placement:
    """The devices of a run, reserved together.

    Raises:
        InputError: the cluster does not have them.
    """

    def __init__(self, settings: RayCluster, *, engine_gpus: int, roles: frozenset[str]) -> None:
        have = num_gpus_in_cluster()
        self.settings = settings
        learner, engine, scorer = settings.learner, settings.engine, settings.scorer
        every = {
            "learner": _Role(learner.ranks, learner.cpus, _gpus(learner.gpus, have, 1)),
            "engine": _Role(engine.workers, engine.cpus, _gpus(engine.gpus, have, engine_gpus)),
            "scorer": _Role(scorer.workers, scorer.cpus, _gpus(scorer.gpus, have, 1)),
        }
        self._roles = {name: role for name, role in every.items() if name in roles}
        self._bundles: list[dict[str, float]] = []
        self._first: dict[str, int] = {}
        self._share = dict.fromkeys(self._roles, 1.0)
        if settings.colocate and {"learner", "engine"} <= roles:
            self._colocate(self._roles["learner"], self._roles["engine"])
        for name, role in self._roles.items():
            if name not in self._first:
                self._first[name] = len(self._bundles)
                self._bundles += [_bundle(role.cpus, role.gpus)] * role.count
        self._group = self._reserve()

    def place(self, name: str, number: int) -> Place:
        """Of worker `number` of "learner", "engine" or "scorer"."""
        role = self._roles[name]
        strategy = PlacementGroupSchedulingStrategy(
            placement_group=self._group, placement_group_bundle_index=self._first[name] + number
        )
        return {"num_cpus": role.cpus, "num_gpus": role.gpus * self._share[name], "scheduling_strategy": strategy}

    def account(self) -> str:
        """What is reserved, in words."""
        return f"GPUs: {self._account('GPU')}; CPUs: {self._account('CPU')}"

    def close(self) -> None:
        remove_placement_group(self._group)

    def _colocate(self, learner: _Role, engine: _Role) -> None:
        self._first |= {"learner": 0, "engine": 0}
        self._share |= {"learner": SHARED, "engine": SHARED}
        bundle = _bundle(learner.cpus + engine.cpus, max(learner.gpus, engine.gpus))
        self._bundles += [bundle] * max(learner.count, engine.count)

    def _reserve(self) -> Any:
        have = ray.cluster_resources()
        for kind in ("GPU", "CPU"):
            asked = sum(bundle.get(kind, 0.0) for bundle in self._bundles)
            if asked > have.get(kind, 0.0):
                raise InputError(
                    "cluster",
                    f"asks for {asked:g} {kind}s ({self._account(kind)}), and the cluster has {have.get(kind, 0.0):g}",
                    "lower learner.ranks, engine.workers or scorer.workers, or what each of them takes (gpus, cpus)",
                )
        strategy = {"pack": "PACK", "spread": "SPREAD"}[self.settings.placement]
        group = placement_group(self._bundles, strategy=strategy)
        if not ray.wait([group.ready()], timeout=RESERVE_SECONDS)[0]:
            remove_placement_group(group)
            raise InputError(
                "cluster",
                f"its devices are not free: {len(self._bundles)} places could not be reserved in {RESERVE_SECONDS:g} s",
                "end what else runs on the cluster, or ask for less",
            )
        return group

    def _account(self, kind: str) -> str:
        return ", ".join(f"{name} {role.count} x {role.amount(kind):g}" for name, role in self._roles.items())


def _gpus(asked: float | None, have: float, natural: int) -> float:
    return asked if asked is not None else float(natural) if have else 0.0


def _bundle(cpus: float, gpus: float) -> dict[str, float]:
    return {kind: amount for kind, amount in (("CPU", cpus), ("GPU", gpus)) if amount} or {"CPU": 0.001}
