"""Reports of runs in every state: what can be read is in them, what cannot is said, and nothing ends in a stack trace."""

import fcntl
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from report_data import held
from reported_runs import HOSTILE, reported_run, write_evaluation, write_gradients

import rl_distill
from rl_distill.cli import main
from rl_distill.errors import InputError
from rl_distill.reporting.run_report import report


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: its students take a while."""
    return reported_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


def test_a_finished_run_is_whole(run: Path, tmp_path: Path) -> None:
    found = report(run, tmp_path / "report.html")
    data = held(found.path)
    assert found.notes == () and found.size == found.path.stat().st_size
    assert [one["state"] for one in data["head"]["runs"]] == ["finished"]
    assert [(one["stage"], one["set"], one["accuracy"]) for one in data["head"]["students"]] == [
        (stage, "A", 0.5) for stage in ("base", "sft", "redi", "grpo")
    ]
    assert [one["alarm"] for one in data["alarms"]["alarms"]] == ["flat_reward"]
    assert {route["stage"] for route in data["costs"]["routes"]} == {"base", "sft", "redi", "grpo"}
    assert data["attempts"]["count"] == 12 and data["attempts"]["rule"] == "All 12 recorded attempts are here."
    wait = [row for row in data["words"]["rows"] if row["label"] == "anthropomorphic" and row["stage"] == "base"]
    assert wait[0]["correct"][0] > 0 and wait[0]["wrong"][0] >= 0


def test_tokens_have_their_text_log_prob_and_staleness(run: Path, tmp_path: Path) -> None:
    data = held(report(run, tmp_path / "report.html").path)
    columns = data["attempts"]["columns"]
    place = next(one for one in range(12) if columns["kind"][one] == "rollout" and columns["step"][one] == 2)
    (turn,) = [turn for turn in data["attempts-0"][place]["turns"] if "lengths" in turn]
    assert sum(turn["lengths"]) == len(turn["text"]) and len(turn["lengths"]) == 3
    assert turn["logprobs"] == [-50, -125, -200] and turn["behind"] == [2, 2, 2]
    assert columns["advantage"][place] == 1 and columns["reward"][place] == 1


def test_what_a_student_said_is_nowhere_in_the_page_itself(run: Path, tmp_path: Path) -> None:
    text = report(run, tmp_path / "report.html").path.read_text()
    assert HOSTILE not in text and "http-equiv" in text and "default-src 'none'" in text
    assert 'src="http' not in text and "<link" not in text


def test_runs_that_were_measured_on_different_problems_stand_apart(run: Path, tmp_path: Path) -> None:
    other = reported_run(tmp_path / "other", prompt="how much is {} ?")
    data = held(report([run, other], tmp_path / "report.html").path)
    assert [one["letter"] for one in data["head"]["sets"]] == ["A", "B"]
    assert {(one["run"], one["set"]) for one in data["head"]["students"]} == {(0, "A"), (1, "B")}
    for front in data["costs"]["fronts"].values():
        found = [(letter, place) for letter, origins in front.items() for places in origins.values() for place in places]
        assert all(data["costs"]["routes"][place]["set"] == letter for letter, place in found)


def test_no_front_joins_routes_from_different_base_students(run: Path, tmp_path: Path) -> None:
    other = reported_run(tmp_path / "other", seed=1)
    same = held(report([run, other], tmp_path / "same.html").path)["costs"]
    assert len(same["bases"]) == 1 and all(list(one["A"]) == ["0"] for one in same["fronts"].values() if one)
    plain = yaml.safe_load((other / "recipe.yaml").read_text())
    plain["student"]["model"]["seed"] = 5
    (other / "recipe.yaml").write_text(yaml.safe_dump(plain))
    data = held(report([run, other], tmp_path / "report.html").path)["costs"]
    assert len(data["bases"]) == 2
    for one in data["fronts"].values():
        for origin, places in one["A"].items():
            assert places and {data["routes"][place]["run"] for place in places} == {int(origin)}


def test_curves_are_over_the_stages_own_step_at_first(run: Path, tmp_path: Path) -> None:
    shared = held(report(run, tmp_path / "report.html").path)["curves"]
    assert shared["axes"][:2] == ["step of the stage", "step of the run"]


def test_a_run_at_work_a_failed_a_stopped_and_an_empty_one_are_shown_as_such(tmp_path: Path) -> None:
    alive, failed, stopped = (reported_run(tmp_path / name, finished=False) for name in ("alive", "failed", "stopped"))
    (failed / "failure.log").write_text("Traceback ...\nrl_distill.errors.RunError: the engine ran out of memory\n")
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(alive / "recipe.yaml", begun)
    empty = tmp_path / "empty"
    empty.mkdir()
    with (alive / ".lock").open("a") as lock, (alive / "metrics.jsonl").open("a") as metrics:
        fcntl.flock(lock, fcntl.LOCK_EX)
        metrics.write('{"stage": "grpo", "st')
        metrics.flush()
        found = report([alive, failed, stopped, begun, empty], tmp_path / "report.html")
    runs = held(found.path)["head"]["runs"]
    assert [one["state"] for one in runs] == ["alive", "failed", "stopped", "stopped", "empty"]
    assert "the engine ran out of memory" in runs[1]["words"]
    assert any("no step was made" in note for note in runs[3]["notes"])


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("recipe.yaml", "student: [", "recipe.yaml"),
        ("recipe.yaml", "name: old\nstages:\n- {name: sft, method: sft}\n", "costs"),
        ("metrics.jsonl", "no line of metrics\n", "metrics"),
        ("stages/grpo/result.json", "[]", "result of stage grpo"),
        ("final/tokenizer.json", '{"version":', "is no tokenizer"),
        ("stages/grpo/evaluation.jsonl", '{"question": "?"}\n', "evaluation.jsonl"),
        ("trajectories/rollouts.jsonl", '{"stage": "grpo", "problem": {}}\n', "rollouts.jsonl"),
        ("environment.json", '{"rl_distill": "0.0.7"}', "written by rl_distill 0.0.7"),
    ],
)
def test_what_is_damaged_or_of_an_older_version_is_said_and_the_rest_is_shown(
    run: Path, tmp_path: Path, file: str, text: str, told: str
) -> None:
    (run / file).parent.mkdir(exist_ok=True)
    (run / file).write_text(text)
    found = report(run, tmp_path / "report.html")
    assert any(told in note for note in found.notes) and not any("\n" in note for note in found.notes)
    assert held(found.path)["head"]["runs"][0]["label"] == "run"


@pytest.mark.parametrize(
    "change",
    [
        {"evaluation": 0.5},
        {"evaluation": {"accuracy": "0.5", "low": 0, "high": 1}},
        {"alarms": ["flat_reward"]},
        {"alarms": [{"alarm": "flat_reward", "text": "no step"}]},
        {"alarms": 2},
        {"seconds": "3 s"},
        {"generated_tokens": "many"},
    ],
)
def test_a_result_of_another_shape_is_said_and_other_stages_stay(run: Path, tmp_path: Path, change: dict[str, object]) -> None:
    path = run / "stages" / "grpo" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found = report(run, tmp_path / "report.html")
    assert any("result of stage grpo" in note for note in found.notes)
    assert {"base", "sft", "redi"} <= {one["stage"] for one in held(found.path)["head"]["students"]}


@pytest.mark.parametrize("line", ['{"stage": null, "step": null, "loss": 1}', '{"stage": "grpo", "step": "ten", "loss": 1}'])
def test_a_line_of_metrics_without_stage_and_step_is_left_out_and_counted(run: Path, tmp_path: Path, line: str) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    found = report(run, tmp_path / "report.html")
    assert any("1 lines name no stage and step" in note for note in found.notes)
    assert held(found.path)["alarms"]["alarms"]


def test_a_state_that_cannot_be_read_is_unknown(run: Path, tmp_path: Path) -> None:
    (run / ".lock").unlink(missing_ok=True)
    (run / ".lock").mkdir()
    assert held(report(run, tmp_path / "report.html").path)["head"]["runs"][0]["state"] == "unknown"


@pytest.mark.parametrize("state", ["alive", "finished", "failed", "stopped", "empty", "unknown"])
def test_every_state_of_a_run_has_a_color_of_its_own(run: Path, tmp_path: Path, state: str) -> None:
    assert re.search(rf"\.mark\.{state}\b[^{{}}]*{{ color:", report(run, tmp_path / "report.html").path.read_text())


def test_a_sweep_is_its_cells_with_its_table_and_its_failures(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for seed in (0, 1):
        reported_run(sweep / "cells" / f"lr-{seed}", seed=seed)
    states = {"lr-0": "done", "lr-1": "stopped", "lr-2": "failed"}
    cells = [{"name": name, "state": state, "reason": "out of memory"} for name, state in states.items()]
    (sweep / "sweep.json").write_text(json.dumps({"cells": cells}))
    (sweep / "table.csv").write_text('cell,accuracy\n"lr, high",0.5\n')
    head = held(report(sweep, tmp_path / "report.html").path)["head"]
    assert [one["label"] for one in head["runs"]] == ["lr-0", "lr-1"]
    assert head["sweeps"][0]["rows"] == [["lr, high", "0.5"]] and head["sweeps"][0]["failures"] == ["lr-2: out of memory"]


def test_a_sweep_that_has_no_results_yet_is_the_cells_that_have_begun(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "sweep" / "cells" / "lr-0")
    head = held(report(tmp_path / "sweep", tmp_path / "report.html").path)["head"]
    assert [one["label"] for one in head["runs"]] == ["lr-0"] and head["sweeps"][0]["rows"] == []


def test_an_evaluation_of_the_runs_student_is_a_benchmark_and_one_of_another_is_counted(run: Path, tmp_path: Path) -> None:
    write_evaluation(tmp_path / "evaluations" / "mine", run / "stages" / "sft" / "student")
    write_evaluation(tmp_path / "evaluations" / "other", tmp_path / "other")
    found = report(run, tmp_path / "report.html", evaluations=tmp_path / "evaluations")
    (row,) = held(found.path)["benchmarks"]["rows"]
    assert (row["run"], row["stage"], row["benchmark"], row["mean"]) == (0, "sft", "aime24", 0.5)
    assert any("1 evaluations are of students of no run" in note for note in found.notes)


def test_the_command_says_what_it_wrote_and_what_it_left_out(run: Path, tmp_path: Path, capsys) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(run), "-o", str(page), "--trajectories", "6"]) == 0
    printed = capsys.readouterr().out
    assert f"report: {page} (" in printed and "6 of 12 recorded attempts are here" in printed
    assert held(page)["attempts"]["count"] == 6


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "RUN: there is no folder 'nowhere'"),
        (["."], "holds no run; it holds the runs run: give those"),
        (["run", "-o", "nowhere/report.html"], "-o: 'nowhere/report.html' cannot be written"),
        (["run", "--trajectories", "-1"], "--trajectories: is -1"),
        (["run", "--evaluations", "nowhere"], "--evaluations: there is no folder 'nowhere'"),
    ],
)
def test_bad_input_is_one_line(run: Path, monkeypatch, capsys, arguments: list[str], told: str) -> None:
    monkeypatch.chdir(run.parent)
    assert main(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_without_plotly_the_remedy_is_named(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(InputError, match="pip install"):
        report(run, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_keys_in_which_recipes_differ_are_named(run: Path, tmp_path: Path) -> None:
    other = reported_run(tmp_path / "other", seed=7)
    plain = yaml.safe_load((other / "recipe.yaml").read_text())
    plain["stages"][0]["learner"]["learning_rate"] = 0.5
    (other / "recipe.yaml").write_text(yaml.safe_dump(plain))
    data = held(report([run, other], tmp_path / "report.html").path)["environment"]
    assert data["differing"] == [["seed", "0", "7"], ["stages.sft.learner.learning_rate", "0.001", "0.5"]]


def test_it_is_called_from_python_by_its_name() -> None:
    script = "import rl_distill.reporting.run_report, rl_distill; assert callable(rl_distill.report)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    assert rl_distill.report is report


def test_a_report_of_gradients_in_a_runs_folder_is_a_page_of_its_own(run: Path, tmp_path: Path) -> None:
    assert held(report(run, tmp_path / "report.html").path)["head"]["gradients"] == 0
    write_gradients(run)
    data = held(report(run, tmp_path / "report.html").path)
    assert data["head"]["gradients"] == 1 and data["gradients"][0]["cosines"]["sft"] == {"sft": 1, "grpo": 0.4}


def test_a_report_on_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="RUN: is missing; give the folder of a run or of a sweep"):
        report([], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_failed_run_whose_last_words_cannot_be_read_has_failed_still(tmp_path: Path) -> None:
    run = reported_run(tmp_path / "run", finished=False)
    (run / "failure.log").write_bytes(b"\xff\n")
    head = held(report(run, tmp_path / "report.html").path)["head"]
    assert head["runs"][0]["state"] == "failed"
