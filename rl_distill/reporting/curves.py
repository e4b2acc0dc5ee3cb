"""Metrics over a run: thinned to what a screen can show, one piece of data a metric, so that a page unpacks what it draws."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rl_distill.reporting.payload import rounded
from rl_distill.reporting.run_facts import RunFacts
from rl_distill.tracking.metric_names import explain

POINTS = 300  # of a stage; with more steps a point is the mean of neighbouring ones
AXES = {
    "run/step": "step of the run",
    "run/generated_tokens": "tokens sampled in the stage",
    "run/trained_tokens": "tokens trained",
}
SECONDS = "seconds of the stage"
STEP = "step of the stage"
Row = Mapping[str, Any]


def curve_data(runs: Sequence[RunFacts]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(what all curves share: `pieces`, a stage of a run each, with its values on every x axis; the curves by metric)."""
    pieces: list[dict[str, Any]] = []
    by_metric: dict[str, dict[str, Any]] = {}
    for number, run in enumerate(runs):
        for stage, rows in _stages(run.metrics):
            heaps = _heaps(rows)
            for metric, values in _curves(heaps).items():
                by_metric.setdefault(metric, {})[str(len(pieces))] = values
            pieces.append({"run": number, "stage": stage, "x": _axes(rows, heaps), "steps": len(rows), "points": len(heaps)})
    names = sorted(by_metric)
    shared = {
        "pieces": pieces,
        "axes": [STEP, *AXES.values(), SECONDS],  # the first one is shown: stages lie over each other, to be compared
        "metrics": {name: _explained(name) for name in names},
        "thinned": [piece["points"] < piece["steps"] for piece in pieces].count(True),
        "points": POINTS,
    }
    return shared, {name: by_metric[name] for name in names}


def _stages(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for stage, found in groupby(rows, key=lambda row: row["stage"]):
        yield stage, list(found)


def _heaps(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """Neighbouring rows that make a point together."""
    count = min(POINTS, len(rows))
    borders = [len(rows) * place // count for place in range(count + 1)]
    return [rows[start:end] for start, end in zip(borders, borders[1:], strict=False)]


def _curves(heaps: Sequence[Sequence[Row]]) -> dict[str, list[float | None]]:
    names = dict.fromkeys(name for heap in heaps for row in heap for name in row)
    dropped = {"stage", "step", *AXES}
    return {name: [_mean(heap, name) for heap in heaps] for name in names if name not in dropped}


def _mean(heap: Sequence[Row], name: str) -> float | None:
    """Of the steps that have it; a value that is not finite makes the point a gap."""
    values = [row[name] for row in heap if name in row]
    return rounded(math.fsum(values) / len(values)) if values and all(map(math.isfinite, values)) else None


def _axes(rows: Sequence[Row], heaps: Sequence[Sequence[Row]]) -> dict[str, list[float | None]]:
    found = {about: [rounded(heap[-1].get(name)) for heap in heaps] for name, about in AXES.items()}
    seconds, spent = [], 0.0
    for heap in heaps:
        spent += sum(row.get("time/step", 0.0) for row in heap)
        seconds.append(rounded(spent))
    return {**found, STEP: [heap[-1]["step"] for heap in heaps], SECONDS: seconds}


def _explained(name: str) -> list[str]:
    known = explain(name)
    return [known.about, known.unit] if known else ["", ""]
