"""Costs as tables for a terminal and a README, and as plain data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rl_distill.analysis.cost_amounts import Cost, RouteCost, RunCosts
from rl_distill.markdown_table import markdown

UNKNOWN = "unknown"
SCHEMA = "rl_distill.costs/1"
HEADER = (
    *("route", "accuracy", "teacher tokens", "sampled tokens", "trained tokens"),
    *("student FLOPs", "teacher FLOPs", "device seconds", "money"),
)
PHASES = ("sampling", "grading", "scoring", "training", "sync", "reading", "idle", "wall")


def cost_lines(runs: Sequence[RunCosts]) -> Iterator[str]:
    """Each run: its routes, its bill, where the seconds went, what is not known and why."""
    for run in runs:
        yield f"{run.name}, seed {run.seed}, {run.devices} device{'s' if run.devices > 1 else ''}: {run.path}"
        if run.unfinished:
            yield f"unfinished, and not counted: {', '.join(run.unfinished)}"
        yield ""
        rows = [(route.name, _accuracy(route), *_amounts(route.cost)) for route in run.routes]
        yield markdown(HEADER, [*rows, (_billed(run), "", *_amounts(run.bill))])
        yield ""
        yield "A route counts all stages from base on; the row of base is what making it cost, which the others leave out."
        yield ""
        stages = [(name, *_seconds(stage.cost)) for name, stage in run.stages.items()]
        yield markdown(("seconds of stage", *PHASES, "evaluation"), stages)
        notes = _notes(run)
        yield from ["", *notes] if notes else []
        yield ""


def as_data(runs: Sequence[RunCosts]) -> dict[str, Any]:
    """What `costs.json` holds; an amount that is not known is null."""
    return {"schema": SCHEMA, "runs": [_run_data(run) for run in runs]}


def _run_data(run: RunCosts) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "name": run.name,
        "seed": run.seed,
        "devices": run.devices,
        "unfinished": list(run.unfinished),
        "stages": {
            name: {
                **_cost_data(stage.cost),
                "notes": list(stage.notes),
                "teachers": None
                if stage.bills is None
                else [
                    {
                        **{key: getattr(bill, key) for key in ("data", "counted", "prompt_tokens", "completion_tokens", "price")},
                        "tokens": bill.tokens,
                    }
                    for bill in stage.bills
                ],
            }
            for name, stage in run.stages.items()
        },
        "routes": [
            {
                **{key: getattr(route, key) for key in ("name", "accuracy", "low", "high")},
                "stages": list(route.stages),
                **_cost_data(route.cost),
            }
            for route in run.routes
        ],
        "bill": _cost_data(run.bill),
    }


def _cost_data(cost: Cost) -> dict[str, Any]:
    derived = {name: getattr(cost, name) for name in ("student_flops", "teacher_flops", "all_flops")}
    return {"cost": {**asdict(cost), **derived}}


def _billed(run: RunCosts) -> str:
    return "all stages once" if run.base_made else "all but base once"


def _accuracy(route: RouteCost) -> str:
    return "-" if route.accuracy is None else f"{route.accuracy:.3f} [{route.low:.3f}, {route.high:.3f}]"


def _amounts(cost: Cost) -> tuple[str, ...]:
    return (
        *(_number(amount, ",.0f") for amount in (cost.teacher_tokens, cost.sampled_tokens, cost.trained_tokens)),
        *(_number(amount, ".3g") for amount in (cost.student_flops, cost.teacher_flops)),
        _number(cost.device_seconds, ",.1f"),
        _number(cost.money, ".4g"),
    )


def _seconds(cost: Cost) -> tuple[str, ...]:
    known: Mapping[str, float | None] = {**dict.fromkeys(PHASES), **cost.seconds, "evaluation": cost.evaluation["seconds"]}
    return tuple(_number(known[phase], ",.2f") for phase in (*PHASES, "evaluation"))


def _number(amount: float | None, form: str) -> str:
    return UNKNOWN if amount is None else format(amount, form)


def _notes(run: RunCosts) -> list[str]:
    """What is not known, and why: one line for all stages that share it."""
    by_note: dict[str, list[str]] = {}
    for name, stage in run.stages.items():
        for note in stage.notes:
            by_note.setdefault(note, []).append(name)
    found = [f"unknown of {', '.join(names)}: {note}" for note, names in by_note.items()]
    sources = {f"teacher tokens of {bill.data}: {bill.counted}" for one in run.stages.values() for bill in one.bills or ()}
    return found + sorted(sources)
