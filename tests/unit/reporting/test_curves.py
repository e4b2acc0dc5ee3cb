"""Curves hold what a run measured; thinned ones hold means, and a value that is not finite is a gap."""

import math
from pathlib import Path
from typing import Any

from rl_distill.reporting.alarm_times import alarm_data
from rl_distill.reporting.curves import POINTS, curve_data
from rl_distill.reporting.run_facts import RunFacts


def run(rows: list[dict[str, Any]], **results: Any) -> RunFacts:
    return RunFacts(label="r", path=Path("r"), state="finished", words="", metrics=rows, results=results)


def rows(count: int, **metrics: Any) -> list[dict[str, Any]]:
    return [
        {"stage": "sft", "step": step, "run/step": step, "time/step": 2.0, **metrics, "loss": float(step)}
        for step in range(count)
    ]


def test_a_short_stage_has_a_point_for_each_step() -> None:
    shared, curves = curve_data([run(rows(3))])
    assert curves["loss"] == {"0": [0, 1, 2]} and shared["thinned"] == 0
    assert shared["pieces"][0]["x"]["seconds of the stage"] == [2, 4, 6]
    assert shared["metrics"]["loss"][0].startswith("what the optimizer minimises")


def test_a_long_stage_is_thinned_to_means_and_none_of_its_steps_is_left_out() -> None:
    shared, curves = curve_data([run(rows(4 * POINTS))])
    values = curves["loss"]["0"]
    assert len(values) == POINTS and values[:2] == [1.5, 5.5] and values[-1] == 4 * POINTS - 2.5
    assert shared["thinned"] == 1 and shared["pieces"][0]["steps"] == 4 * POINTS


def test_what_is_not_finite_or_not_measured_is_a_gap() -> None:
    found = rows(3)
    found[1]["loss"] = math.nan
    found[2]["evaluation/accuracy"] = 0.5
    curves = curve_data([run(found)])[1]
    assert curves["loss"]["0"] == [0, None, 2] and curves["evaluation/accuracy"]["0"] == [None, None, 0.5]


def test_an_alarm_rings_from_its_first_to_its_last_step_and_says_what_it_said() -> None:
    found = rows(6)
    for step in (1, 2, 5):
        found[step]["alarm/collapse"] = 1.0
    found[3]["beside/lesson/alarm/no_update"] = 1.0
    said = {"alarms": [{"alarm": "collapse", "step": 5, "text": "again"}]}
    rings = alarm_data([run(found, sft=said)])["alarms"]
    assert [(ring["alarm"], ring["beside"], ring["first"], ring["last"], ring["text"]) for ring in rings] == [
        ("collapse", "", 1, 2, ""),
        ("collapse", "", 5, 5, "again"),
        ("no_update", "lesson", 3, 3, ""),
    ]


def test_what_an_alarm_said_that_stopped_a_stage_is_what_ended_the_run() -> None:
    found = rows(4)
    for step in (1, 3):
        found[step]["alarm/collapse"] = 1.0
    stopped = run(found)
    stopped.state, stopped.words = (
        "stopped",
        "alarm collapse stopped stage 'sft' after step 3: log-probs fell; its sweep leaves it at that",
    )
    assert [ring["text"] for ring in alarm_data([stopped])["alarms"]] == ["", stopped.words]
    stopped.words = "stopped before its end; the command that started it continues it"
    assert [ring["text"] for ring in alarm_data([stopped])["alarms"]] == ["", ""]
