"""What cells cost, by the amounts that a sweep's table has."""

from collections.abc import Mapping, Sequence

from rl_distill.analysis.cost_amounts import Cost, total

COSTS = ("teacher_tokens", "sampled_tokens", "trained_tokens", "student_flops", "device_seconds")
Costs = Mapping[str, float | None]  # None is not known


def costs_of(cost: Cost) -> Costs:
    return {name: getattr(cost, name) for name in COSTS}


def mean_costs(cells: Sequence[Costs]) -> Costs:
    """An amount that one cell does not tell is not known of their mean either."""
    added = added_costs(cells)
    return {name: None if amount is None or not cells else amount / len(cells) for name, amount in added.items()}


def added_costs(cells: Sequence[Costs]) -> Costs:
    return {name: total(one[name] for one in cells) for name in COSTS}


def amount_text(name: str, amount: float | None) -> str:
    if amount is None:
        return "unknown"
    return f"{amount:.3g}" if name == "student_flops" else f"{amount:,.1f}" if name == "device_seconds" else f"{amount:,.0f}"
