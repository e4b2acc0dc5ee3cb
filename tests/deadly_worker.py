"""Engine workers that die: of one problem, or before they have begun."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl_distill.cluster.engine_worker import EngineWorker
from rl_distill.rollout.engine import Request, ShardResult

DEADLY = "the last one"
BORN = "RL_DISTILL_BORN"  # environment: a folder in which every worker that tried to start leaves a file


class DeadlyWorker(EngineWorker):
    def sample(self, requests: Sequence[Request]) -> ShardResult | None:
        if any(request.problem_id == DEADLY for request in requests):
            os._exit(9)
        return super().sample(requests)


class StillbornWorker(EngineWorker):
    """The first of a run dies as it starts."""

    def __init__(self, *given: Any) -> None:
        born = Path(os.environ[BORN])
        first = not list(born.iterdir())
        (born / str(os.getpid())).touch()
        if first:
            os._exit(9)
        super().__init__(*given)
