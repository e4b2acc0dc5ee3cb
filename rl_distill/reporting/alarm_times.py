"""When which alarm rang: from the metrics of every step, with what it said from the results of finished stages."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rl_distill.analysis.run_records import RUNG
from rl_distill.reporting.run_facts import RunFacts

STOPPED = "alarm "  # what the reason of a stop begins with


def alarm_data(runs: Sequence[RunFacts]) -> dict[str, Any]:
    """`stages`: the steps of the run that each took; `alarms`: from the first to the last step of each unbroken ring."""
    stages, rings = [], []
    for number, run in enumerate(runs):
        for stage, found in groupby(run.metrics, key=lambda row: row["stage"]):
            rows = list(found)
            steps = [_step(row) for row in rows]
            stages.append({"run": number, "stage": stage, "first": steps[0], "last": steps[-1]})
            rings += [{"run": number, "stage": stage, **ring} for ring in _rings(rows, _said(run, stage, rows))]
    return {"stages": stages, "alarms": rings}


def _rings(rows: Sequence[Mapping[str, Any]], said: Mapping[tuple[str, int], str]) -> Iterator[dict[str, Any]]:
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(RUNG) or f"/{RUNG}" in name)
    for name in names:
        objective, _, alarm = name.rpartition(RUNG)
        for rings, found in groupby(rows, key=lambda row: row.get(name, 0.0) > 0):
            if rings:
                spell = list(found)
                text = next((text for row in spell if (text := said.get((alarm, row["step"])))), "")
                beside = objective.strip("/").removeprefix("beside/")
                yield {"alarm": alarm, "beside": beside, "first": _step(spell[0]), "last": _step(spell[-1]), "text": text}


def _said(run: RunFacts, stage: str, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], str]:
    """By alarm and step; an alarm of an objective beside the stage's own is named with it.

    A stage that an alarm stopped has no results: what it said is what ended the run.
    """
    found = run.results.get(stage, {}).get("alarms") or []
    said = {(str(one["alarm"]).partition(":")[0], int(one["step"])): str(one["text"]) for one in found}
    if run.state == "stopped" and stage not in run.results and run.words.startswith(STOPPED):
        said[run.words.removeprefix(STOPPED).split()[0].partition(":")[0], int(rows[-1]["step"])] = run.words
    return said


def _step(row: Mapping[str, Any]) -> float:
    return float(row.get("run/step", row["step"]))
