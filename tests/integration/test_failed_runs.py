"""A run that fails ends with exit code 1 and a report, loses nothing that was finished, and goes on to the same weights."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import rolled_out, start_cli, taught

from rl_distill.tracking import read_metrics

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from rl_distill.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""

REWARDS = """
import os

def raises(prompts, completions, **columns):
    raise KeyError("level")

def too_few(prompts, completions, **columns):
    return [1.0]

def breaks_once(prompts, completions, **columns):
    if os.path.exists(os.environ["BROKEN"]):
        raise OSError("the judge does not answer")
    return [float(len(completion[0]["content"])) for completion in completions]
"""


def weights(run_dir: Path) -> bytes:
    return (run_dir / "final" / "model.safetensors").read_bytes()


def steps(run_dir: Path) -> list[tuple[str, int]]:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [(line["stage"], line["step"]) for line in lines]


def reported(err: str, run_dir: Path) -> dict[str, str]:
    """The fields of a failure report, one a line."""
    fields = dict(
        re.split(r": +", line, maxsplit=1)
        for line in err.splitlines()
        if re.match(r"(failed|stopped|details|saved|continue with): ", line)
    )
    if "failed" in fields:
        assert fields["details"] == str(run_dir / "failure.log") and "Traceback" in (run_dir / "failure.log").read_text()
    return fields


@pytest.fixture
def uninterrupted(tiny_recipe, cli, tmp_path):
    """The final weights of the same recipe in another folder, with nothing in its way."""

    def run(recipe, *overrides: str) -> bytes:
        other = tmp_path / "uninterrupted"
        assert cli("train", recipe.path, *overrides, f"run_dir={other}")[0] == 0
        return weights(other)

    return run


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_step_before(tiny_recipe, cli):
    recipe = tiny_recipe(
        taught(), taught("redi", learner={"learning_rate": 1e30, "schedule": "constant", "warmup_fraction": 0}, steps=9)
    )
    recipe.change(checkpoints={"every_steps": 100})
    code, _, err = cli("train", recipe.path)
    report = reported(err, recipe.run_dir)
    found = re.match(r"alarm not_finite stopped stage 'redi' after step (\d): \S+ (nan|inf|-inf)", report["failed"])
    assert code == 1 and found
    assert report["saved"].startswith(f"finished stages base, sft; stage 'redi' up to step {found[1]} in ")
    last = read_metrics(recipe.run_dir / "metrics.jsonl")[-1]
    assert last["alarm/not_finite"] == 1 and not all(math.isfinite(value) for value in last.values() if isinstance(value, float))
    assert report["continue with"] == f"rl-distill train {recipe.path}"


def test_weights_that_have_overflowed_never_sample_silently(tiny_recipe, cli):
    recipe = tiny_recipe(rolled_out(learner={"learning_rate": 1e30, "schedule": "constant", "warmup_fraction": 0}, steps=9))
    code, _, err = cli("train", recipe.path)
    assert code == 1 and re.search("not finite|not_finite", reported(err, recipe.run_dir)["failed"])


@pytest.mark.parametrize(
    ("function", "complaint"), [("raises", "failed: KeyError: 'level'"), ("too_few", "returned 1 rewards for 6 attempts")]
)
def test_a_reward_function_that_fails_ends_the_run_with_its_own_words(
    function, complaint, tiny_recipe, cli, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_rewards.py").write_text(REWARDS)
    stage = rolled_out()
    stage["source"]["rewards"] = [{"name": "trl_function", "function": f"broken_rewards:{function}"}]
    recipe = tiny_recipe(taught(), stage)
    code, _, err = cli("train", recipe.path)
    report = reported(err, recipe.run_dir)
    assert code == 1 and report["failed"] == f"reward function 'broken_rewards:{function}' {complaint}"
    assert report["saved"] == "finished stages base, sft"


def test_a_run_goes_on_to_the_same_weights_when_what_failed_works_again(tiny_recipe, cli, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BROKEN", str(tmp_path / "broken"))
    (tmp_path / "recovering_rewards.py").write_text(REWARDS)
    stage = rolled_out()
    stage["source"]["rewards"] = [{"name": "trl_function", "function": "recovering_rewards:breaks_once"}]
    recipe = tiny_recipe(taught(), stage)
    (tmp_path / "broken").touch()
    assert cli("train", recipe.path)[0] == 1
    (tmp_path / "broken").unlink()
    assert cli("train", recipe.path)[0] == 0
    assert weights(recipe.run_dir) == uninterrupted(recipe)


def test_ctrl_c_finishes_the_step_saves_it_and_the_continued_run_ends_in_the_same_bits(tiny_recipe, cli, uninterrupted):
    stage = rolled_out(steps=40)
    stage["source"] |= {"rewards": [{"name": "accuracy"}, *stage["source"]["rewards"]], "prompts_per_step": 8}
    recipe = tiny_recipe(taught(), stage, checkpoints={"every_steps": 1000})
    process = start_cli("train", recipe.path)
    metrics = recipe.run_dir / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text().count('"grpo"') >= 3):
        pass
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the grader processes get it too
    _, err = process.communicate()
    report = reported(err, recipe.run_dir)
    assert process.returncode == 1 and "failed" not in report
    stopped = re.fullmatch(r"stopped by SIGINT after step (\d+) of stage 'grpo'; that step is saved", report["stopped"])
    assert stopped and report["saved"].startswith(f"finished stages base, sft; stage 'grpo' up to step {stopped[1]} in ")
    assert report["continue with"] == f"rl-distill train {recipe.path}" and "Traceback" not in err

    code, out, _ = cli("train", recipe.path)
    assert code == 0 and f"grpo: continues after step {stopped[1]} from" in out
    assert weights(recipe.run_dir) == uninterrupted(recipe)
    assert steps(recipe.run_dir)[-42:] == [("sft", 0), ("sft", 1), *(("grpo", step) for step in range(40))]


def test_a_schedulers_sigterm_stops_the_run_like_ctrl_c(tiny_recipe):
    recipe = tiny_recipe(taught(steps=3000), taught("redi"), checkpoints={"every_steps": 10_000})
    process = start_cli("train", recipe.path)
    while process.poll() is None and not (recipe.run_dir / "stages" / ".sft.start.json").exists():
        pass
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 1 and "stopped by SIGTERM after step" in err


@pytest.mark.parametrize(("limit", "written"), [(14_000, "finished stages base"), (50_000, "finished stages base, sft")])
def test_a_full_disk_ends_in_a_report_and_the_run_goes_on_when_there_is_room(limit, written, tiny_recipe, cli, uninterrupted):
    """Files may not grow past a limit: below the size of the optimizer's state, and above it, where the records reach it."""
    recipe = tiny_recipe(taught(), rolled_out(steps=20), checkpoints={"every_steps": 6})
    expected = uninterrupted(recipe)
    command = [sys.executable, "-c", LIMITED, str(limit), "train", str(recipe.path)]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 1, failed.stderr
    report = reported(failed.stderr, recipe.run_dir)
    assert "File too large" in report["failed"]
    assert report["saved"].startswith(written)
    code, _, err = cli("train", recipe.path)
    assert (code, err) == (0, "")
    assert weights(recipe.run_dir) == expected
    assert steps(recipe.run_dir)[-22:] == [("sft", 0), ("sft", 1), *(("grpo", step) for step in range(20))]
    assert not [path for path in recipe.run_dir.rglob("*.tmp")]


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tiny_recipe, cli, uninterrupted):
    recipe = tiny_recipe(taught(), rolled_out(steps=4))
    expected = uninterrupted(recipe)
    assert cli("train", recipe.path)[0] == 0
    shutil.rmtree(recipe.run_dir / "stages" / "grpo")
    newest = recipe.run_dir / "checkpoints" / "grpo" / "step-00000004"
    _flip_a_byte(newest / "state-00000.safetensors")
    code, out, _ = cli("train", recipe.path)
    assert code == 0 and f"checkpoint {newest} is damaged (state-00000.safetensors does not match its checksum)" in out
    assert "grpo: continues after step 3 from" in out
    assert weights(recipe.run_dir) == expected
    assert steps(recipe.run_dir)[-6:] == [("sft", 0), ("sft", 1), *(("grpo", step) for step in range(4))]


@pytest.mark.parametrize("checkpoints_too", [False, True])
def test_a_damaged_finished_stage_is_done_again_and_no_record_is_lost(checkpoints_too, tiny_recipe, cli):
    recipe = tiny_recipe(taught(), taught("redi"))
    assert cli("train", recipe.path)[0] == 0
    expected, ledger, recorded = weights(recipe.run_dir), (recipe.run_dir / "ledger.jsonl").read_bytes(), steps(recipe.run_dir)
    _flip_a_byte(recipe.run_dir / "stages" / "sft" / "student" / "model.safetensors")
    if checkpoints_too:
        for checkpoint in (recipe.run_dir / "checkpoints" / "sft").glob("step-*"):
            _flip_a_byte(checkpoint / "learner.json")
    code, out, _ = cli("train", recipe.path)
    assert code == 0 and "stage sft is damaged (student/model.safetensors does not match its checksum)" in out
    assert ("redi: 2 steps" in out) == checkpoints_too  # what its steps recorded stands behind that of sft
    assert weights(recipe.run_dir) == expected
    assert (recipe.run_dir / "ledger.jsonl").read_bytes() == ledger and steps(recipe.run_dir) == recorded


def test_records_that_were_cut_are_refused_where_a_checkpoint_needs_them(tiny_recipe, cli):
    recipe = tiny_recipe(rolled_out(steps=4))
    assert cli("train", recipe.path)[0] == 0
    shutil.rmtree(recipe.run_dir / "stages" / "grpo")
    shutil.rmtree(recipe.run_dir / "checkpoints" / "grpo" / "step-00000004")
    metrics = recipe.run_dir / "metrics.jsonl"
    os.truncate(metrics, 700)
    code, _, err = cli("train", recipe.path)
    assert (
        code == 2 and err.startswith(f"error: {metrics}: is not the file that the checkpoint belongs to") and err.count("\n") == 1
    )


def test_leftovers_of_dead_processes_are_cleared_away(tiny_recipe, cli):
    recipe = tiny_recipe()
    assert cli("train", recipe.path)[0] == 0
    shutil.rmtree(recipe.run_dir / "stages" / "sft")
    left = [recipe.run_dir / place for place in ("stages/.sft.123.tmp", "checkpoints/sft/.step-00000001.77.tmp", ".final.9.old")]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "half.bin").write_bytes(b"half")
    with (recipe.run_dir / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"stage": "sft", "st')
    assert cli("train", recipe.path)[0] == 0
    assert not any(folder.exists() for folder in left)
    assert [line for line in steps(recipe.run_dir) if line[0] == "sft"] == [("sft", 0), ("sft", 1)]


def test_a_damaged_base_student_in_the_cache_is_made_again(tiny_recipe, cli, tmp_path, monkeypatch):
    monkeypatch.setenv("RL_DISTILL_CACHE", str(tmp_path / "cache"))
    recipe = tiny_recipe()
    assert cli("train", recipe.path)[0] == 0
    (student,) = (tmp_path / "cache" / "students").glob("*/student/model.safetensors")
    intact = student.read_bytes()
    _flip_a_byte(student)
    code, out, _ = cli("train", recipe.path, f"run_dir={tmp_path / 'second'}")
    assert code == 0 and "is damaged (student/model.safetensors does not match its checksum); it is made again" in out
    assert student.read_bytes() == intact and weights(tmp_path / "second") == weights(recipe.run_dir)


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
