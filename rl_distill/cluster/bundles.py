"""What the workers of a run take, before any cluster is asked for it."""

from dataclasses import dataclass, field

from rl_distill.cluster.settings import RayCluster

SHARED = 0.5  # of a device, for a learner rank and an engine worker that live on it together


@dataclass(frozen=True, slots=True)
class Role:
    """How many workers of a kind there are, and what each of them takes."""

    count: int
    cpus: float
    gpus: float
    share: float = 1.0  # of the device that it has

    def amount(self, kind: str) -> float:
        return self.gpus if kind == "GPU" else self.cpus


@dataclass(frozen=True, slots=True)
class Bundles:
    """
    roles   by name
    places  what is reserved on one host each
    first   index of each role's first place
    """

    roles: dict[str, Role]
    places: list[dict[str, float]] = field(default_factory=list)
    first: dict[str, int] = field(default_factory=dict)

    def asked(self, kind: str) -> float:
        """Of "CPU" or "GPU", all together."""
        return sum(place.get(kind, 0.0) for place in self.places)

    def account(self, kind: str) -> str:
        return ", ".join(f"{name} {role.count} x {role.amount(kind):g}" for name, role in self.roles.items())


def bundles_of(settings: RayCluster, *, engine_gpus: int, roles: frozenset[str], has_gpus: bool) -> Bundles:
    """
    Args:
        engine_gpus: devices that one engine worker needs.
        roles: "learner", "engine", "scorer", those that the run has.
        has_gpus: whether the cluster does.
    """
    learner, engine, scorer = settings.learner, settings.engine, settings.scorer
    shared = settings.colocate and {"learner", "engine"} <= roles
    share = SHARED if shared else 1.0
    every = {
        "learner": Role(learner.ranks, learner.cpus, _gpus(learner.gpus, has_gpus, 1), share),
        "engine": Role(engine.workers, engine.cpus, _gpus(engine.gpus, has_gpus, engine_gpus), share),
        "scorer": Role(scorer.workers, scorer.cpus, _gpus(scorer.gpus, has_gpus, 1)),
    }
    found = Bundles({name: role for name, role in every.items() if name in roles})
    if shared:
        one, other = found.roles["learner"], found.roles["engine"]
        found.first.update({"learner": 0, "engine": 0})
        found.places.extend([_place(one.cpus + other.cpus, max(one.gpus, other.gpus))] * max(one.count, other.count))
    for name, role in found.roles.items():
        if name not in found.first:
            found.first[name] = len(found.places)
            found.places.extend([_place(role.cpus, role.gpus)] * role.count)
    return found


def _gpus(asked: float | None, has_gpus: bool, natural: int) -> float:
    return asked if asked is not None else float(natural) if has_gpus else 0.0


def _place(cpus: float, gpus: float) -> dict[str, float]:
    return {kind: amount for kind, amount in (("CPU", cpus), ("GPU", gpus)) if amount} or {"CPU": 0.001}
