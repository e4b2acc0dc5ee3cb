"""A run's parts on a Ray cluster."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rl_distill.cluster.crew import Crew
from rl_distill.cluster.engine_fleet import EngineFleet
from rl_distill.cluster.host import LOGS, LearnerSpec, MakeModel
from rl_distill.cluster.learner_fleet import LearnerFleet, Ranks
from rl_distill.cluster.machine import Machine
from rl_distill.cluster.memory import ModelSize, check_memory
from rl_distill.cluster.placement import Placement
from rl_distill.cluster.roll_call import cluster_machines
from rl_distill.cluster.scorer_fleet import ScorerFleet, ScorerProcesses
from rl_distill.cluster.session import Session
from rl_distill.cluster.settings import RayCluster
from rl_distill.learning.learner import Learner
from rl_distill.learning.scorer import Scorer, ScorerConfig
from rl_distill.rollout.engine import Engine


class RayHost:
    """See `cluster.host.Host`. Connects, and reserves all devices, at once.

    Args:
        engine_gpus: devices that one engine worker needs.
        roles: which of "learner", "engine" and "scorer" the run has.
        size: of the student.
        folder: of the run, for the workers' logs and the list of them.
        say: takes a line for the user.

    Raises:
        InputError: the cluster does not answer, its hosts have different versions, or it lacks the devices or the memory.
    """

    def __init__(
        self,
        settings: RayCluster,
        *,
        engine_gpus: int,
        roles: frozenset[str],
        size: ModelSize,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self._session = Session(settings, folder / LOGS / "ray.log")
        try:
            self.machines: Sequence[Machine] = cluster_machines(settings)
            check_memory(settings, size, self.machines, roles)
            self._placement = Placement(settings, engine_gpus=engine_gpus, roles=roles)
            self._crew = Crew(settings, self._placement.place, folder=folder, say=say)
            self._ranks = Ranks(self._crew)
            self._scorers = ScorerProcesses(self._crew) if "scorer" in roles else None
        except BaseException:
            self._session.close()
            raise

    def learner(self, spec: LearnerSpec) -> Learner:
        return LearnerFleet(spec, self._ranks)

    def engine(self, student: str, tokenizer: Any, config: Any, *, name: str) -> Engine:
        return EngineFleet(student, tokenizer, config, self._crew, name=name)

    def scorer(self, make_model: MakeModel, config: ScorerConfig) -> Scorer:
        if self._scorers is None or self._scorers.pool.ended:
            self._scorers = ScorerProcesses(self._crew)
        return ScorerFleet(make_model, config, self._scorers)

    def close(self, *, failed: bool = False) -> None:
        self._ranks.close(failed=failed)
        if self._scorers is not None:
            self._scorers.close()
        self._crew.close()
        self._placement.close()
        self._session.close()
