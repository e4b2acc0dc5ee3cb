"""What routes cost and how good they are, of runs that tell it: the amounts of `rl-distill costs`, a front a set of problems."""

from collections.abc import Mapping, Sequence
from typing import Any

from rl_distill.analysis.cost_amounts import RouteCost, RunCosts
from rl_distill.analysis.cost_table import PHASES
from rl_distill.analysis.costs import Assumed, run_costs
from rl_distill.analysis.pareto import AXES, Point, front
from rl_distill.recipe import BASE
from rl_distill.reporting.measured_sets import Student
from rl_distill.reporting.notes import readable
from rl_distill.reporting.payload import rounded
from rl_distill.reporting.run_facts import RunFacts


def cost_data(runs: Sequence[RunFacts], students: Sequence[Student], assumed: Assumed) -> dict[str, Any]:
    """`routes` with an amount on each of `axes` (null: not known), which of them nobody from the same base beats, `seconds` by
    stage, what is `assumed`, `notes`."""
    sets = {student.place: student.measured_on for student in students}
    routes: list[dict[str, Any]] = []
    bases: dict[str, str] = {}  # by what recipes say of a base student, the first run that begins there
    seconds: list[dict[str, Any]] = []
    notes: list[list[str]] = []
    for number, run in enumerate(runs):
        costs = readable(run.notes, "costs", None, _costs, run, assumed)
        if costs is None:
            continue
        bases.setdefault(costs.base, run.label)
        origin = list(bases).index(costs.base)
        for route in costs.routes:
            letter = sets.get((number, route.name))
            row = readable(run.notes, f"costs of {route.name}", None, _route, number, route, letter, origin)
            routes += [row] if row is not None else []
        seconds += [
            {"run": number, "stage": name, **{phase: rounded(stage.cost.seconds.get(phase)) for phase in PHASES}}
            for name, stage in costs.stages.items()
        ]
        notes += [[run.label, note] for note in _notes(costs)]
    fronts = {axis: _fronts(routes, axis) for axis in AXES}
    told = {"routes": routes, "seconds": seconds, "notes": notes, "fronts": fronts, "bases": list(bases.values())}
    return {"axes": list(AXES), "phases": list(PHASES), "assumed": _assumptions(assumed), **told}


def _costs(run: RunFacts, assumed: Assumed) -> RunCosts | None:
    return run_costs(run.path, assumed) if run.results else None


def _assumptions(assumed: Assumed) -> list[str]:
    """What no run tells, as sentences."""
    told = []
    if assumed.teacher_weights is not None:
        told.append(f"A curated teacher has {assumed.teacher_weights:,.0f} weights that are active for a token.")
    if assumed.price is not None:
        told.append(f"A device costs {assumed.price:g} an hour, in the currency of the teacher's bill.")
    return told


def _route(number: int, route: RouteCost, letter: str | None, origin: int) -> dict[str, Any]:
    """Each route starts from base, whose own row says what making it cost: on an axis it stands at 0.

    Args:
        origin: the place of its base student in `bases`.
    """
    return {
        "run": number,
        "stage": route.name,
        "way": " → ".join(route.stages),
        "set": letter,
        "origin": origin,
        "base": route.name == BASE,
        **{name: rounded(getattr(route, name)) for name in ("accuracy", "low", "high")},
        "amounts": {axis: rounded(amount(route.cost)) for axis, amount in AXES.items()},
    }


def _fronts(routes: Sequence[Mapping[str, Any]], axis: str) -> dict[str, dict[str, list[int]]]:
    """By set of problems and base student, places in `routes` of those that none is better than for as little, cheapest first.

    Routes from different bases stand on one axis, and no front joins them: what each cost counts from its own base.
    """
    found: dict[str, dict[str, list[Point]]] = {}
    for place, route in enumerate(routes):
        amount = 0.0 if route["base"] else route["amounts"][axis]
        measured = [route[name] for name in ("accuracy", "low", "high")]
        if amount is not None and route["set"] is not None and None not in measured:
            accuracy, low, high = measured
            point = Point(label=str(place), amount=amount, accuracy=accuracy, low=low, high=high)
            found.setdefault(route["set"], {}).setdefault(str(route["origin"]), []).append(point)
    return {
        letter: {origin: [int(point.label) for point in front(points)] for origin, points in some.items()}
        for letter, some in found.items()
    }


def _notes(costs: RunCosts) -> list[str]:
    unfinished = [f"unfinished, and not counted: {', '.join(costs.unfinished)}"] if costs.unfinished else []
    return unfinished + list(dict.fromkeys(f"{name}: {note}" for name, stage in costs.stages.items() for note in stage.notes))
