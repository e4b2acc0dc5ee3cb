"""What measuring a student took, beside what came out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rl_distill.evaluation.evaluator import EvaluationResult
from rl_distill.training.work_counts import added, sampling_work
from rl_distill.trajectory import Group

Evaluate = Callable[[], tuple[EvaluationResult | None, Sequence[Group]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """
    result, graded  of the evaluation; None and [] where a run measures nothing
    cost            `count` (of evaluations), `seconds`, and the counts of `work_counts` for sampling
    """

    result: EvaluationResult | None
    graded: Sequence[Group]
    cost: Mapping[str, float]


def measured(evaluate: Evaluate) -> Measurement:
    """Evaluate, and keep the books."""
    started = time.perf_counter()
    result, graded = evaluate()
    if result is None:
        return Measurement(result=None, graded=[], cost={})
    seconds = time.perf_counter() - started
    work = added(sampling_work(group.trajectories) for group in graded)
    return Measurement(result=result, graded=graded, cost={"count": 1, "seconds": seconds, **work})


def total_cost(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of several measurements together."""
    return {name: sum(cost.get(name, 0) for cost in costs) for cost in costs for name in cost}
