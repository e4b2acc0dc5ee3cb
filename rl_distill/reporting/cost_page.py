"""What routes cost and how good they are, of runs that tell it: the amounts of `rl-distill costs`, a front a set of problems."""

from collections.abc import Mapping, Sequence
from typing import Any

from rl_distill.analysis.cost_amounts import RouteCost, RunCosts
from rl_distill.analysis.cost_table import PHASES
from rl_distill.analysis.costs import run_costs
from rl_distill.analysis.pareto import AXES, Point, front
from rl_distill.recipe import BASE
from rl_distill.reporting.measured_sets import Student
from rl_distill.reporting.notes import readable
from rl_distill.reporting.payload import rounded
from rl_distill.reporting.run_facts import RunFacts


def cost_data(runs: Sequence[RunFacts], students: Sequence[Student]) -> dict[str, Any]:
    """`routes` with an amount on each of `axes` (null: not known), which of them nobody beats, `seconds` by stage, `notes`."""
    sets = {student.place: student.measured_on for student in students}
    routes: list[dict[str, Any]] = []
    seconds: list[dict[str, Any]] = []
    notes: list[list[str]] = []
    for number, run in enumerate(runs):
        costs = readable(run.notes, "costs", None, _costs, run)
        if costs is None:
            continue
        routes += [_route(number, route, sets.get((number, route.name))) for route in costs.routes]
        seconds += [
            {"run": number, "stage": name, **{phase: rounded(stage.cost.seconds.get(phase)) for phase in PHASES}}
            for name, stage in costs.stages.items()
        ]
        notes += [[run.label, note] for note in _notes(costs)]
    fronts = {axis: _fronts(routes, axis) for axis in AXES}
    return {"axes": list(AXES), "phases": list(PHASES), "routes": routes, "seconds": seconds, "notes": notes, "fronts": fronts}


def _costs(run: RunFacts) -> RunCosts | None:
    return run_costs(run.path) if run.results else None


def _route(number: int, route: RouteCost, letter: str | None) -> dict[str, Any]:
    """Each route starts from base, whose own row says what making it cost: on an axis it stands at 0."""
    return {
        "run": number,
        "stage": route.name,
        "way": " → ".join(route.stages),
        "set": letter,
        "base": route.name == BASE,
        **{name: rounded(getattr(route, name)) for name in ("accuracy", "low", "high")},
        "amounts": {axis: rounded(amount(route.cost)) for axis, amount in AXES.items()},
    }


def _fronts(routes: Sequence[Mapping[str, Any]], axis: str) -> dict[str, list[int]]:
    """By set of problems, the places in `routes` of those that none is better than for as little, cheapest first."""
    found: dict[str, list[Point]] = {}
    for place, route in enumerate(routes):
        amount = 0.0 if route["base"] else route["amounts"][axis]
        measured = [route[name] for name in ("accuracy", "low", "high")]
        if amount is not None and route["set"] is not None and None not in measured:
            accuracy, low, high = measured
            point = Point(label=str(place), amount=amount, accuracy=accuracy, low=low, high=high)
            found.setdefault(route["set"], []).append(point)
    return {letter: [int(point.label) for point in front(points)] for letter, points in found.items()}


def _notes(costs: RunCosts) -> list[str]:
    unfinished = [f"unfinished, and not counted: {', '.join(costs.unfinished)}"] if costs.unfinished else []
    return unfinished + list(dict.fromkeys(f"{name}: {note}" for name, stage in costs.stages.items() for note in stage.notes))
