"""Accuracy against each thing that it costs, and which routes no other one beats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl_distill.analysis.cost_amounts import Cost, RunCosts
from rl_distill.errors import InputError
from rl_distill.recipe import BASE

AXES: dict[str, Callable[[Cost], float | None]] = {
    "tokens sampled by the student": lambda cost: cost.sampled_tokens,
    "tokens trained on": lambda cost: cost.trained_tokens,
    "teacher tokens": lambda cost: cost.teacher_tokens,
    "FLOPs of the student": lambda cost: cost.student_flops,
    "FLOPs of teacher and student": lambda cost: cost.all_flops,
    "device seconds": lambda cost: cost.device_seconds,
    "money": lambda cost: cost.money,
}


WIDE = 100.0  # times the smallest amount: beyond it an axis is logarithmic


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A route on one axis."""

    label: str
    amount: float
    accuracy: float
    low: float
    high: float


def points(runs: Sequence[RunCosts], axis: str) -> list[Point]:
    """The measured routes whose amount is known; base costs nothing here, since each route starts from it."""
    found = []
    for run in runs:
        for route in run.routes:
            amount = 0.0 if route.name == BASE else AXES[axis](route.cost)
            if amount is None or route.accuracy is None or route.low is None or route.high is None:
                continue
            label = route.name if len(runs) == 1 else f"{run.name}, seed {run.seed}: {route.name}"
            found.append(Point(label=label, amount=amount, accuracy=route.accuracy, low=route.low, high=route.high))
    return found


def front(found: Sequence[Point]) -> list[Point]:
    """Those that none is better than for as little, cheapest first."""
    best: list[Point] = []
    for point in sorted(found, key=lambda point: (point.amount, -point.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def check_comparable(runs: Sequence[RunCosts]) -> None:
    """
    Raises:
        InputError: two runs were measured on different problems, so that their accuracies cannot stand on one axis.
    """
    measured = [(run, route) for run in runs for route in run.routes if route.accuracy is not None]
    for run, route in measured[1:]:
        first = measured[0][0]
        if route.problems != measured[0][1].problems:
            problem = f"{str(run.path)!r} was measured on other problems than {str(first.path)!r}"
            raise InputError("RUN", problem, "give runs with the same `evaluation`, or one at a time")


def drawn_axes(runs: Sequence[RunCosts]) -> tuple[list[str], list[str]]:
    """(axes on which two routes beside base stand and not all at 0, the others)."""
    amounts = {axis: [point.amount for point in points(runs, axis)] for axis in AXES}
    drawn = [axis for axis, found in amounts.items() if len(found) > 2 and any(found)]
    return drawn, [axis for axis in AXES if axis not in drawn]


def plot_pareto(runs: Sequence[RunCosts], path: Path) -> list[str]:
    """One PNG, a panel for each axis; returns the axes on which there is nothing to draw.

    Raises:
        InputError: the runs cannot be compared, or the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    check_comparable(runs)
    drawn, left_out = drawn_axes(runs)
    if not drawn:
        return left_out
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4.8 * columns, 3.9 * rows), layout="constrained", squeeze=False)
    for place, axis in enumerate(axes.flat):
        if place < len(drawn):
            _panel(axis, drawn[place], points(runs, drawn[place]), legend=place == 0)
        else:
            axis.axis("off")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return left_out


def _panel(axis: Any, title: str, found: Sequence[Point], *, legend: bool) -> None:
    from matplotlib.ticker import EngFormatter

    best = front(found)
    for place, point in enumerate(found):
        errors = [[point.accuracy - point.low], [point.high - point.accuracy]]
        style = {"markersize": 8 if point in best else 4, "markeredgecolor": "black" if point in best else "none"}
        axis.errorbar(
            point.amount, point.accuracy, yerr=errors, fmt="o", capsize=3, color=f"C{place % 10}", label=point.label, **style
        )
    ends = [*best, max(found, key=lambda point: point.amount)]
    axis.step(
        [point.amount for point in ends],
        [*(point.accuracy for point in best), best[-1].accuracy],
        where="post",
        color="grey",
        linestyle="--",
        label="Pareto front",
    )
    axis.set(xlabel=title, ylabel="held-out accuracy, 95 % interval")
    spent = [point.amount for point in found if point.amount > 0]
    if max(spent) > WIDE * min(spent):
        axis.set_xscale("symlog", linthresh=min(spent))
    axis.xaxis.set_major_formatter(EngFormatter())
    axis.grid(alpha=0.3)
    if legend:
        axis.legend(fontsize=7)
