"""Bringing new weights to the engine, and proof that they arrived and are what it computes with."""

import time

from rl_distill.config import config, setting
from rl_distill.errors import RunError
from rl_distill.learning.learner import Learner
from rl_distill.rollout.engine import Engine, EngineDtype, Request, load_checked
from rl_distill.trajectory import Trajectory

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25}  # nats; float32 is off by 3e-6 where all is well, bfloat16 by 2e-2


@config
class SyncChecks:
    """Digests of all tensors are compared at every update; what the engine computes with them is looked at now and then."""

    canary_every: int = setting(
        20, about="updates from one look at an attempt's log-probs, by engine and by learner, to the next", ge=1
    )
    canary_tolerance: float | None = setting(
        None, about="largest difference of a token's log-prob; none is 0.001 for float32 and 0.25 for bfloat16", unit="nats", gt=0
    )


class WeightSync:
    """The way from a learner to the engine of its stage.

    Args:
        canary: what is sampled and then scored by the learner; its sampling has the temperature of training.
    """

    def __init__(self, learner: Learner, engine: Engine, canary: Request, checks: SyncChecks, tolerance: float) -> None:
        self.learner, self.engine, self.canary, self.checks = learner, engine, canary, checks
        self.tolerance = tolerance
        self._version: int | None = None

    def bring(self, version: int) -> dict[str, float]:
        """Publish the learner's weights and load them; returns metrics.

        Raises:
            RunError: the version falls, what arrived differs from what was published (it names a tensor), or the engine computes
                otherwise than the learner.
        """
        if self._version is not None and version < self._version:
            raise RunError(f"weights of version {version} would replace those of version {self._version}: versions never fall")
        started = time.perf_counter()
        update = self.learner.publish(version)
        published = time.perf_counter()
        load_checked(self.engine, update)
        ended = time.perf_counter()
        metrics = {
            "sync/bytes": float(update.num_bytes),
            "time/publish": published - started,
            "time/load": ended - published,
        }
        if self._version is None or version % self.checks.canary_every == 0:
            metrics["sync/canary_error"] = self._look(version)
        self._version = version
        return metrics

    def _look(self, version: int) -> float:
        """The largest difference between a worker's log-prob of a token that it sampled and the learner's."""
        sampled = self.engine.canaries(self.canary)
        columns = self.learner.logprobs(sampled, temperature=self.canary.sampling.temperature)
        worst = 0.0
        for attempt, ours in zip(sampled, columns, strict=True):
            for place, theirs in _sampled(attempt):
                gap = abs(theirs - ours[place])
                if not gap <= self.tolerance:
                    raise RunError(
                        f"after the update to version {version} an engine worker gives token {place} of an attempt at "
                        f"{attempt.problem_id!r} the log-prob {theirs:.4f} and the learner {ours[place]:.4f}: all tensors "
                        f"arrived, but the engine computes with others (tolerance {self.tolerance:g}, sync.canary_tolerance)"
                    )
                worst = max(worst, gap)
        return worst


def tolerance_of(checks: SyncChecks, dtype: EngineDtype, precision: str) -> float:
    """The one of the recipe, or what the coarser of engine and learner allows."""
    if checks.canary_tolerance is not None:
        return checks.canary_tolerance
    return TOLERANCE["bfloat16" if "bfloat16" in (dtype, precision) else "float32"]


def _sampled(attempt: Trajectory) -> list[tuple[int, float]]:
    """(place, log-prob) of the tokens that the engine chose."""
    assert attempt.behavior_logprobs is not None, "engines report log-probs"
    return [
        (place, value) for place, (value, mine) in enumerate(zip(attempt.behavior_logprobs, attempt.sampled, strict=True)) if mine
    ]
