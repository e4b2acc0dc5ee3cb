"""Themes 8, 14, 15, 20, 21, 29: whole runs as processes: alike, honest about their end, gone afterwards, side by side."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tiny_runs import rolled_out, start_cli, taught, tiny_student

REWARDS = """
import gc, json, os, torch
from rl_distill.rewards import Accuracy

counts = []  # of objects and tensors alive when a step asks for its rewards

def graded(prompts, completions, **columns):
    "A reward that has the grader processes work, and may be told to fail."
    Accuracy().grade([("1/2", r"\\\\boxed{0.5}")])
    if os.environ.get("FAILING"):
        raise OSError("the judge does not answer")
    return [float(len(completion[0]["content"])) for completion in completions]

def counted(prompts, completions, **columns):
    if len(counts) in (6, 16):
        gc.collect()
        alive = gc.get_objects()
        counts.append((len(alive), sum(issubclass(type(thing), torch.Tensor) for thing in alive)))
        json.dump([found for found in counts if found], open(os.environ["COUNTS"], "w"))
    else:
        counts.append(None)
    return [float(len(completion[0]["content"])) for completion in completions]
"""


def rewarded(function: str, **changes: Any) -> dict[str, Any]:
    stage = rolled_out(**changes)
    stage["source"]["rewards"] = [{"name": "trl_function", "function": f"theme_rewards:{function}"}]
    return stage


class Ended(NamedTuple):
    """A run that was a process."""

    folder: Path
    code: int
    out: str
    err: str
    left: bool  # is any process of its session alive?


def outcome(folder: Path) -> dict[str, bytes]:
    """Weights, attempts and the ledger, but for the base student's: it is made by whoever comes first."""
    files = ("final/model.safetensors", "trajectories/rollouts.jsonl")
    ledger = (folder / "ledger.jsonl").read_bytes().splitlines()
    of_stages = b"\n".join(line for line in ledger if not line.startswith(b'{"stage": "base"'))
    return {"ledger": of_stages} | {name: (folder / name).read_bytes() for name in files}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Three runs of one recipe at once, two alike and one whose reward fails; they share a cache, empty at first."""
    shared = tmp_path_factory.mktemp("themes")
    (shared / "theme_rewards.py").write_text(REWARDS)
    recipe = {
        "name": "theme",
        "student": tiny_student(),
        "stages": [taught(), rewarded("graded")],
        "tracking": {"console": "quiet", "trajectories_every": 1},
    }
    (shared / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    begun = {}
    for place, name in enumerate(("one", "alike", "failing")):
        environment = {
            "PYTHONPATH": str(shared),
            "PYTHONHASHSEED": str(place),
            "RL_DISTILL_CACHE": str(shared / "cache"),
            "FAILING": "yes" if name == "failing" else "",
        }
        folder = shared / name
        begun[name] = folder, start_cli("train", shared / "recipe.yaml", f"run_dir={folder / 'run'}", **environment)
    finished = {}
    for name, (folder, process) in begun.items():
        try:
            out, err = process.communicate(timeout=240)  # a run that never ends is what theme 15 is about
            finished[name] = Ended(folder, process.returncode, out, err, left=alive(process.pid))
        finally:
            if alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
    return finished


def alive(group: int) -> bool:
    """Does a process group have members? Orphans that are just ending are given the time to."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


def test_theme_08_the_same_seed_gives_the_same_curve_in_any_process(ended):
    """Processes of their own, with other hash seeds: no order of a set, no time and no address in memory enters."""
    assert ended["one"].code == ended["alike"].code == 0, ended["one"].err + ended["alike"].err
    assert outcome(ended["one"].folder / "run") == outcome(ended["alike"].folder / "run")


def test_theme_08_another_seed_gives_another_curve(tiny_recipe, cli, tmp_path):
    recipe = tiny_recipe(taught(), rolled_out())
    for seed in (3, 4):
        assert cli("train", recipe.path, f"seed={seed}", f"run_dir={tmp_path / str(seed)}")[0] == 0
    one, other = (outcome(tmp_path / str(seed)) for seed in (3, 4))
    assert all(other[name] != value for name, value in one.items())


def test_theme_08_what_numbers_depend_on_beside_the_recipe_is_recorded_and_a_change_is_said(tiny_recipe, cli):
    recipe = tiny_recipe()
    assert cli("train", recipe.path)[0] == 0
    path = recipe.run_dir / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"torch": "1.0", "torch_threads": 99}))
    code, out, _ = cli("train", recipe.path)
    assert code == 0 and "note: torch was '1.0' and is " in out and "note: torch_threads was 99 and is " in out


def test_theme_14_a_failed_run_says_so_to_the_shell_and_leaves_no_summary(ended):
    failing = ended["failing"]
    assert failing.code == 1 and "failed: reward function 'theme_rewards:graded' failed: OSError" in failing.err
    assert not (failing.folder / "run" / "summary.json").exists() and not (failing.folder / "run" / "final").exists()
    assert (ended["one"].folder / "run" / "summary.json").exists()


def test_theme_15_a_run_ends_and_leaves_no_process_behind_whether_it_succeeds_or_fails(ended):
    assert {name: run.left for name, run in ended.items()} == dict.fromkeys(ended, False)


def test_theme_20_nothing_that_a_step_makes_outlives_it(tiny_recipe, tmp_path):
    """Between two steps far apart no tensor has been added, and fewer objects than one attempt consists of."""
    (tmp_path / "theme_rewards.py").write_text(REWARDS)
    stage = rewarded("counted", steps=18, algorithm={"name": "grpo", "kl_coef": 0.04})
    recipe = tiny_recipe(taught(), stage, checkpoints={"every_steps": 5})
    process = start_cli("train", recipe.path, PYTHONPATH=str(tmp_path), COUNTS=str(tmp_path / "counts.json"))
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    (early, early_tensors), (late, late_tensors) = json.loads((tmp_path / "counts.json").read_text())
    assert late_tensors == early_tensors and late - early < 20


def test_theme_21_runs_that_start_at_once_and_share_a_cache_do_not_collide(ended):
    assert ended["one"].code == ended["alike"].code == 0
    (student,) = (ended["one"].folder.parent / "cache" / "students").iterdir()
    base = (student / "student" / "model.safetensors").read_bytes()
    for run in ended.values():
        assert (run.folder / "run" / "stages" / "base" / "student" / "model.safetensors").read_bytes() == base


def test_theme_29_a_judge_that_does_not_answer_ends_the_run_and_not_the_day(tmp_path, tiny_recipe):
    """The whole process ends, though the judge is still at it."""
    (tmp_path / "slow_judge.py").write_text("import time\ndef judge(prompts, **columns): time.sleep(600)\n")
    stage = rolled_out()
    stage["source"]["rewards"] = [{"name": "trl_function", "function": "slow_judge:judge", "deadline": 0.2}]
    process = start_cli("train", tiny_recipe(stage).path, PYTHONPATH=str(tmp_path))
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "failed: reward function 'slow_judge:judge' has not answered for 6 attempts within 0.2 s" in err
