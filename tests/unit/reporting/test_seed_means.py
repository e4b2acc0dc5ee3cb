"""Means over seeds of runs with one recipe: which runs are seeds of each other, what a mean leaves out, when there is none."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_data import held
from reported_runs import reported_run

from rl_distill.cli import main
from rl_distill.evaluation.over_seeds import mean_over_seeds
from rl_distill.reporting.run_report import report


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three seeds, whose students of redi differ in their accuracy."""
    folder = tmp_path_factory.mktemp("made")
    first = reported_run(folder / "run0")
    return [seeded(first, folder / f"run{seed}", seed, accuracy) for seed, accuracy in enumerate((0.5, 0.6, 0.4))]


@pytest.fixture
def runs(made: list[Path], tmp_path: Path) -> list[Path]:
    return [shutil.copytree(run, tmp_path / run.name) for run in made]


def seeded(first: Path, folder: Path, seed: int, accuracy: float, **changes: Any) -> Path:
    if folder != first:
        shutil.copytree(first, folder)
    plain = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"seed": seed, "run_dir": str(folder)} | changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain))
    path = folder / "stages" / "redi" / "result.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"evaluation": found["evaluation"] | {"accuracy": accuracy}}))
    return folder


def means(runs: list[Path], output: Path) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    found = report(runs, output)
    return {row["stage"]: row for row in held(found.path)["head"]["means"]}, found.notes


def test_runs_that_differ_in_their_seed_have_a_mean_with_its_interval_over_seeds(runs: list[Path], tmp_path: Path) -> None:
    row = means(runs, tmp_path / "report.html")[0]["redi"]
    by_hand = mean_over_seeds([0.5, 0.6, 0.4]).interval
    assert by_hand is not None and (row["mean"], row["seeds"], row["notes"]) == (0.5, 3, [])
    assert row["low"] == pytest.approx(by_hand.low, rel=1e-4) and row["high"] == pytest.approx(by_hand.high, rel=1e-4)


def test_seeds_that_all_come_to_the_same_have_no_interval_and_it_is_said(runs: list[Path], tmp_path: Path) -> None:
    row = means(runs, tmp_path / "report.html")[0]["base"]
    assert (row["low"], row["notes"]) == (None, ["no interval: all 3 seeds have the same accuracy"])


def test_a_run_without_that_student_is_in_no_mean_and_is_named(runs: list[Path], tmp_path: Path) -> None:
    shutil.rmtree(runs[2] / "stages" / "redi")
    (runs[2] / "summary.json").unlink()
    row = means(runs, tmp_path / "report.html")[0]["redi"]
    assert (row["seeds"], len(row["runs"]), row["mean"]) == (2, 3, 0.55)
    assert row["notes"][0].startswith("without run2, stopped: where runs drop out the others may flatter")


def test_a_copy_of_a_run_is_no_other_seed(runs: list[Path], tmp_path: Path) -> None:
    shutil.copytree(runs[0], tmp_path / "copy")
    found, notes = means([*runs, tmp_path / "copy"], tmp_path / "report.html")
    assert found["redi"]["seeds"] == 3
    assert any("copy: in no mean over seeds: it has the recipe and the seed of run0" in note for note in notes)


def test_runs_of_other_recipes_have_no_mean_together(runs: list[Path], tmp_path: Path) -> None:
    plain = yaml.safe_load((runs[1] / "recipe.yaml").read_text())
    plain["stages"][0]["learner"]["learning_rate"] = 0.5
    (runs[1] / "recipe.yaml").write_text(yaml.safe_dump(plain))
    assert means(runs[:2], tmp_path / "report.html") == ({}, ())


def test_a_price_and_the_weights_of_a_teacher_are_those_of_rl_distill_costs(runs: list[Path], tmp_path: Path, capsys) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(runs[0]), "-o", str(page), "--price", "36", "--teacher-weights", "1000"]) == 0
    data = held(page)["costs"]
    free = held(report(runs[0], page).path)["costs"]
    (money,) = [axis for axis in data["axes"] if "money" in axis]
    (row,) = [route for route in data["routes"] if route["stage"] == "sft"]
    (before,) = [route for route in free["routes"] if route["stage"] == "sft"]
    assert row["amounts"][money] == pytest.approx(before["amounts"][money] + 36 / 3600 * row["amounts"]["device seconds"])
    assert "costs 36 an hour" in data["assumed"][1] and "1,000 weights" in data["assumed"][0] and free["assumed"] == []
    assert main(["report", str(runs[0]), "--price", "-1"]) == 2 and "--price: is -1" in capsys.readouterr().err
