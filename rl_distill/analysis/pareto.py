"""Accuracy against each thing that it costs, and which routes no other one beats."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rl_distill.analysis.cost_amounts import Cost, RouteCost, RunCosts
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A student on one axis; `amount` is what its way from base cost, None where that is not known."""

    label: str
    amount: float | None
    accuracy: float
    low: float
    high: float


def points(runs: Sequence[RunCosts], axis: str, several: bool | None = None) -> list[Point]:
    """The measured routes, of unknown amount too. Base is none of them: it is where each begins, whatever making it cost.

    Args:
        several: whether labels name the run; none is where there are several runs.
    """
    return [_point(label, route, AXES[axis](route.cost)) for label, route in _measured(runs, several) if route.name != BASE]


def bases(runs: Sequence[RunCosts], several: bool | None = None) -> list[Point]:
    """The measured students that the routes begin at; beyond themselves they cost nothing."""
    return [_point(label, route, 0.0) for label, route in _measured(runs, several) if route.name == BASE]


def known(found: Sequence[Point]) -> list[Point]:
    """Those whose amount is known, cheapest first and the better first of those that cost the same."""
    return sorted((point for point in found if point.amount is not None), key=lambda point: (point.amount, -point.accuracy))


def front(found: Sequence[Point]) -> list[Point]:
    """Those that none is better than for as little, cheapest first."""
    best: list[Point] = []
    for point in known(found):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def by_base(runs: Sequence[RunCosts]) -> list[list[RunCosts]]:
    """Runs that begin at the same base student together: what a route cost beyond another one says nothing about it."""
    found: dict[str, list[RunCosts]] = {}
    for run in runs:
        found.setdefault(run.base, []).append(run)
    return list(found.values())


def fronts(runs: Sequence[RunCosts], axis: str) -> list[list[Point]]:
    """The front of each base student, in the order of `by_base`; [] where nothing of it is measured."""
    several = len(runs) > 1
    return [front([*bases(some, several), *points(some, axis, several)]) for some in by_base(runs)]


def check_comparable(runs: Sequence[RunCosts]) -> None:
    """
    Raises:
        InputError: two runs were measured on different problems, so that their accuracies cannot stand on one axis.
    """
    measured = [run for run in runs if run.problems]
    for run in measured[1:]:
        if difference := _difference(measured[0], run):
            problem = f"{str(run.path)!r} was measured on other problems than {str(measured[0].path)!r}: {difference}"
            raise InputError("RUN", problem, "give runs with the same `evaluation`, or one at a time")


def drawn_axes(runs: Sequence[RunCosts]) -> tuple[list[str], list[str]]:
    """(axes on which two routes beside base stand and not all at 0, the others)."""
    amounts = {axis: [point.amount for point in known(points(runs, axis))] for axis in AXES}
    drawn = [axis for axis, found in amounts.items() if len(found) > 1 and any(found)]
    return drawn, [axis for axis in AXES if axis not in drawn]


def _measured(runs: Sequence[RunCosts], several: bool | None) -> Iterator[tuple[str, RouteCost]]:
    alone = len(runs) == 1 if several is None else not several
    for run in runs:
        for route in run.routes:
            if route.accuracy is not None:
                yield route.name if alone else f"{run.name}, seed {run.seed}: {route.name}", route


def _point(label: str, route: RouteCost, amount: float | None) -> Point:
    assert route.accuracy is not None and route.low is not None and route.high is not None, "measured"
    return Point(label=label, amount=amount, accuracy=route.accuracy, low=route.low, high=route.high)


def _difference(first: RunCosts, second: RunCosts) -> str:
    """In words, "" if both were measured on the same problems. Of a run that kept no answers the ids alone are compared."""
    before, after = first.problems, second.problems
    for here, there, whose in ((before, after, "first"), (after, before, "second")):
        only = [name for name in here if name not in there]
        if only:
            return f"{len(only)} are only in the {whose} one, such as {only[0]!r}"
    changed = [name for name, asked in before.items() if asked and after[name] and asked != after[name]]
    return f"{len(changed)} are worded or solved otherwise, such as {changed[0]!r}" if changed else ""
