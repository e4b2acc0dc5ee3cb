"""An engine worker that one problem is the death of."""

import os
from collections.abc import Sequence

from rl_distill.cluster.engine_worker import EngineWorker
from rl_distill.rollout.engine import Request, ShardResult

DEADLY = "the last one"


class DeadlyWorker(EngineWorker):
    def sample(self, requests: Sequence[Request]) -> ShardResult | None:
        if any(request.problem_id == DEADLY for request in requests):
            os._exit(9)
        return super().sample(requests)
