"""A recorded run is repeated from its folder alone; a number that comes out otherwise is found and named."""

import json
import re
import shutil
from pathlib import Path

import pytest
from refusals import refused
from tiny_runs import rolled_out, taught

from rl_distill.algorithms import grpo
from rl_distill.training.differences import first_difference
from rl_distill.training.replay import replay

RECORDED = Path(__file__).parents[1] / "recorded_run"
SAME = "every number is the same, to the bit"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A finished run of two stages."""
    from tiny_runs import write_recipe

    from rl_distill.cli import main

    recipe = write_recipe(tmp_path_factory.mktemp("recorded"), taught(), rolled_out(steps=3))
    assert main(["train", str(recipe.path)]) == 0
    return recipe.run_dir


def test_a_run_comes_out_the_same(recorded, cli, tmp_path):
    code, out, err = cli("replay", recorded, "-o", tmp_path / "again")
    assert (code, err) == (0, "") and f"5 steps: {SAME}" in out
    assert first_difference(recorded, tmp_path / "again", ["sft", "grpo"]) is None


def test_a_replay_stops_after_a_step_with_the_student_as_it_was_then(recorded, cli, tmp_path):
    rows = [json.loads(line) for line in (recorded / "metrics.jsonl").read_text().splitlines()]
    end_of_sft = max(row["run/step"] for row in rows if row["stage"] == "sft")
    code, out, _ = cli("replay", recorded, "--until", int(end_of_sft), "-o", tmp_path / "again")
    assert code == 0 and f"2 steps: {SAME}" in out
    assert f"student after the last step: {tmp_path}/again/stopped/student" in out
    student = tmp_path / "again" / "stopped" / "student" / "model.safetensors"
    assert student.read_bytes() == (recorded / "stages" / "sft" / "student" / "model.safetensors").read_bytes()


def test_code_that_changes_a_number_is_found_with_the_step_and_the_number(recorded, cli, monkeypatch, tmp_path):
    plain = grpo.standardized
    monkeypatch.setattr(grpo, "standardized", lambda *given: [value * 1.0001 for value in plain(*given)])
    code, out, _ = cli("replay", recorded, "-o", tmp_path / "again")
    assert code == 1 and re.search(r"5 steps: stage 'grpo' step \d: credit/positive was 0\.\d+ and is 0\.\d+ \(metrics", out)


def test_a_replay_is_done_again_where_an_earlier_one_was(recorded, cli):
    for _ in range(2):
        code, out, _ = cli("replay", recorded)
        assert code == 0 and SAME in out
    assert (recorded / "replay" / "summary.json").exists()
    shutil.rmtree(recorded / "replay")


def test_a_run_that_was_cut_off_is_repeated_as_far_as_it_came(recorded, cli, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(recorded, cut)
    (cut / "summary.json").unlink()
    shutil.rmtree(cut / "stages" / "grpo")
    for name in ("metrics.jsonl", "ledger.jsonl", "schedule.jsonl"):
        lines = [json.loads(line) for line in (cut / name).read_text().splitlines()]
        kept = [line for line in lines if line["stage"] != "grpo" or line["step"] < 2]
        (cut / name).write_text("".join(json.dumps(line) + "\n" for line in kept))
    code, out, _ = cli("replay", cut)
    assert code == 0 and f"4 steps: {SAME}" in out


def test_a_line_that_a_killed_driver_left_unfinished_counts_for_nothing(recorded, cli, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(recorded, cut)
    (cut / "summary.json").unlink()
    for name in ("metrics.jsonl", "ledger.jsonl", "schedule.jsonl"):
        with (cut / name).open("a") as file:
            file.write('{"stage": "grpo", "step": 3, "run/st')
    code, out, _ = cli("replay", cut)
    assert code == 0 and f"5 steps: {SAME}" in out
    code, out, _ = cli("status", cut)
    assert code == 0 and "stage 'grpo': 3 steps" in out


def test_a_stage_that_ended_by_its_budget_of_tokens_is_repeated_to_its_end(tiny_recipe, cli):
    learner = {"learning_rate": 1e-3, "schedule": "constant", "warmup_steps": 0}
    stages = [rolled_out(f"to_{most}", steps=None, max_generated_tokens=most, learner=learner) for most in (150, 100)]
    recipe = tiny_recipe(*stages)
    assert cli("train", recipe.path)[0] == 0
    code, out, err = cli("replay", recipe.run_dir)
    assert (code, err) == (0, "") and SAME in out
    assert (recipe.run_dir / "replay" / "summary.json").exists()


def test_a_run_is_never_cleared_away_for_a_replay(recorded, cli, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(recorded, other)
    for folder in (other, recorded):
        assert "is not empty and holds no replay" in refused(cli("replay", recorded, "-o", folder))
    assert (other / "final" / "model.safetensors").exists() and (recorded / "final" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--until", "9999"], "--until: is 9999, and steps 2 to 6 were recorded; give one of those"),
        (["seed=1"], "seed: would make it another run; change only cluster.address, tracking, run_dir"),
    ],
)
def test_what_would_be_no_replay_is_refused(arguments, message, recorded, cli, tmp_path):
    assert refused(cli("replay", recorded, *arguments, "-o", tmp_path / "again")) == message


def test_a_folder_without_a_run_is_refused(cli, tmp_path):
    assert "holds no run that could be replayed (recipe.yaml is not there)" in refused(cli("replay", tmp_path))
    assert "holds no run; give the folder of a run" in refused(cli("status", tmp_path))


def test_the_run_in_this_repository_comes_out_as_it_was_recorded(tmp_path):
    """Whatever moves a number by more than rounding shows here.

    If that is meant, it belongs under Numerics in the changelog, and the run is recorded anew: by its record.py.
    """
    found = replay(RECORDED, tmp_path / "again", tolerance=1e-4, say=lambda line: None)
    assert found.difference is None


def test_status_of_damaged_metrics_is_a_line(recorded, cli, tmp_path):
    (tmp_path / "recipe.yaml").write_text((recorded / "recipe.yaml").read_text())
    (tmp_path / "metrics.jsonl").write_text('{"stage": \n')
    assert "metrics.jsonl: is damaged" in refused(cli("status", tmp_path))


def test_status_tells_of_a_finished_run(recorded, cli):
    code, out, _ = cli("status", recorded)
    assert code == 0 and f"{recorded}: finished" in out and "stage 'grpo': 3 steps" in out
