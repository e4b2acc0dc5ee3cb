"""Cells whose recipes use Ray: each starts a cluster of its own, within what the sweep holds for it."""

from collections.abc import Iterable

from rl_distill.cluster.bundles import Bundles, bundles_of
from rl_distill.cluster.settings import RayCluster
from rl_distill.errors import InputError
from rl_distill.recipe import Recipe
from rl_distill.training.preflight import engine_gpus


def check_cluster(recipe: Recipe, cpus: float) -> None:
    """
    Args:
        cpus: that a cell holds.

    Raises:
        InputError: its workers would live on a cluster that other cells use too, or take more cores than it holds.
    """
    settings = recipe.cluster
    if not isinstance(settings, RayCluster):
        return
    if settings.address is not None:
        problem = f"is {settings.address!r}, where the workers of all cells would wait for each other's places"
        remedy = "set it to null, and say in `cpus` and `gpus` what the cluster takes that each cell then starts for itself"
        raise InputError("cluster.address", problem, remedy)
    taken = _bundles(recipe, settings, has_gpus=False)
    if (asked := taken.asked("CPU")) > cpus:
        problem = f"takes {asked:g} CPU cores ({taken.account('CPU')}), and a cell holds {cpus:g}"
        raise InputError(
            "cluster", problem, f"set cpus={asked:g} of the sweep, or lower what cluster.learner.cpus and the like ask for"
        )


def check_gpus(recipes: Iterable[Recipe], gpus: float) -> None:
    """
    Args:
        gpus: that a cell holds.

    Raises:
        InputError: the workers of a cell take more of them.
    """
    for recipe in recipes:
        if not isinstance(recipe.cluster, RayCluster):
            continue
        taken = _bundles(recipe, recipe.cluster, has_gpus=gpus > 0)
        if (asked := taken.asked("GPU")) > gpus:
            problem = f"a cell holds {gpus:g}, and the cluster that one starts takes {asked:g} ({taken.account('GPU')})"
            raise InputError("gpus", problem, f"set it to {asked:g}, or lower what cluster.learner.gpus and the like ask for")


def _bundles(recipe: Recipe, settings: RayCluster, *, has_gpus: bool) -> Bundles:
    return bundles_of(settings, engine_gpus=engine_gpus(recipe), roles=recipe.roles, has_gpus=has_gpus)
