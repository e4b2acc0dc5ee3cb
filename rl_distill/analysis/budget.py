"""How long responses are, and what they would have scored under a smaller token budget; nothing is sampled anew."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from rl_distill.analysis.samples import Recorded, Unit, length
from rl_distill.evaluation.intervals import clustered_interval

QUANTILES = (0, 10, 25, 50, 75, 90, 100)
NUM_BUDGETS = 24


def budgets(lengths: Sequence[int]) -> list[int]:
    """From the shortest response to the longest, evenly in the logarithm. What lies beyond was not observed."""
    low, high = max(1, min(lengths)), max(1, *lengths)
    return sorted({round(value) for value in np.geomspace(low, high, NUM_BUDGETS).tolist()})


def budget_curve(responses: Sequence[Recorded], at: Sequence[int], unit: Unit) -> list[dict[str, Any]]:
    """Accuracy under each budget, a mean over problems with a 95 % interval clustered by problem.

    A response counts as correct if it is, and had finished by itself within the budget. Those that nobody could judge
    are left out. The curve ends at `shortest_cut`, which is one of its budgets.
    """
    cut = shortest_cut(responses, unit)
    if cut is not None:
        at = sorted({budget for budget in (*at, cut) if 0 < budget <= cut})
    lengths: dict[str, list[float]] = {}
    for one in _judged(responses):
        size = length(one, unit)
        right = one.status == "correct" and one.finished
        lengths.setdefault(one.problem_id, []).append(size if right else float("inf"))
    if not lengths:
        return []
    needed = [np.array(sizes) for sizes in lengths.values()]  # by problem: the budget from which on each response is correct
    curve = []
    for budget in at:
        found = clustered_interval([float((sizes <= budget).mean()) for sizes in needed])
        curve.append({"budget": budget, "accuracy": found.mean, "low": found.low, "high": found.high})
    return curve


def shortest_cut(responses: Sequence[Recorded], unit: Unit) -> int | None:
    """Length of the shortest judged response that was cut off, None if all finished: with more room it might have been right."""
    return min((length(one, unit) for one in _judged(responses) if not one.finished), default=None)


def budget_end(responses: Sequence[Recorded], unit: Unit) -> dict[str, int | None]:
    """Where cut responses end the curve (None: nowhere), and how many of the judged ones those are."""
    judged = _judged(responses)
    cut_off = sum(not one.finished for one in judged)
    return {"ends_at": shortest_cut(responses, unit), "cut_off": cut_off, "judged": len(judged)}


def length_report(responses: Sequence[Recorded], unit: Unit) -> dict[str, Any]:
    """Lengths of all responses and by verdict: mean and quantiles; how many did not finish."""
    groups = {"all": responses} | {
        status: [one for one in responses if one.status == status] for status in ("correct", "wrong", "unverifiable")
    }
    return {name: _distribution([length(one, unit) for one in some], some) for name, some in groups.items() if some}


def _judged(responses: Sequence[Recorded]) -> list[Recorded]:
    return [one for one in responses if one.status in ("correct", "wrong")]


def _distribution(lengths: Sequence[int], responses: Sequence[Recorded]) -> dict[str, Any]:
    quantiles = np.percentile(lengths, QUANTILES).tolist()
    return {
        "responses": len(lengths),
        "unfinished": sum(not one.finished for one in responses),
        "mean": fmean(lengths),
        "quantiles": {str(share): value for share, value in zip(QUANTILES, quantiles, strict=True)},
    }
