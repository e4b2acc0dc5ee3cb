"""Which devices each worker gets: everything is reserved at once, before anything expensive starts."""

from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rl_distill.cluster.bundles import bundles_of
from rl_distill.cluster.session import num_gpus_in_cluster
from rl_distill.cluster.settings import RayCluster
from rl_distill.errors import InputError

RESERVE_SECONDS = 60.0


Place = dict[str, Any]  # where one worker runs: options of a Ray actor


class Placement:
    """The devices of a run, reserved together.

    Raises:
        InputError: the cluster does not have them.
    """

    def __init__(self, settings: RayCluster, *, engine_gpus: int, roles: frozenset[str]) -> None:
        self.settings = settings
        has_gpus = num_gpus_in_cluster() > 0
        self._bundles = bundles_of(settings, engine_gpus=engine_gpus, roles=roles, has_gpus=has_gpus)
        self._group = self._reserve()

    def place(self, name: str, number: int) -> Place:
        """Of worker `number` of "learner", "engine" or "scorer"."""
        role = self._bundles.roles[name]
        strategy = PlacementGroupSchedulingStrategy(
            placement_group=self._group, placement_group_bundle_index=self._bundles.first[name] + number
        )
        return {"num_cpus": role.cpus, "num_gpus": role.gpus * role.share, "scheduling_strategy": strategy}

    def account(self) -> str:
        """What is reserved, in words."""
        return f"GPUs: {self._bundles.account('GPU')}; CPUs: {self._bundles.account('CPU')}"

    def close(self) -> None:
        remove_placement_group(self._group)

    def _reserve(self) -> Any:
        have = ray.cluster_resources()
        for kind in ("GPU", "CPU"):
            asked = self._bundles.asked(kind)
            if asked > have.get(kind, 0.0):
                raise InputError(
                    "cluster",
                    f"asks for {asked:g} {kind}s ({self._bundles.account(kind)}), and the cluster has {have.get(kind, 0.0):g}",
                    "lower learner.ranks, engine.workers or scorer.workers, or what each of them takes (gpus, cpus)",
                )
        strategy = {"pack": "PACK", "spread": "SPREAD"}[self.settings.placement]
        group = placement_group(self._bundles.places, strategy=strategy)
        if not ray.wait([group.ready()], timeout=RESERVE_SECONDS)[0]:
            remove_placement_group(group)
            raise InputError(
                "cluster",
                f"its devices are not free: {len(self._bundles.places)} places could not be reserved in {RESERVE_SECONDS:g} s",
                "end what else runs on the cluster, or ask for less",
            )
        return group
