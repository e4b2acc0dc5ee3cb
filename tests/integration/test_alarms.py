"""Each alarm in a real run that goes wrong the way it is there for: it is heard, it is recorded, and it can stop the run."""

import json

import pytest
from tiny_runs import rolled_out, taught

from rl_distill.tracking import read_metrics

RATE = {"schedule": "constant", "warmup_fraction": 0}
REWARDS = """
def alike(prompts, completions, **columns):
    return [0.0 for _ in completions]

def by_length(prompts, completions, **columns):
    return [float(len(completion[0]["content"])) for completion in completions]
"""


def rolled_with(reward, **changes):
    stage = rolled_out(**changes)
    stage["source"]["rewards"] = [reward]
    return stage


@pytest.fixture(autouse=True)
def rewards(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tried_rewards.py").write_text(REWARDS)


CASES = {
    "collapse": taught(
        "redi", learner=RATE | {"learning_rate": 0.03}, algorithm={"name": "redi", "negative_coef": 1.0}, steps=20
    ),
    "no_update": taught("redi", learner=RATE | {"learning_rate": 1e-12}, steps=6),
    "flat_reward": rolled_with({"name": "trl_function", "function": "tried_rewards:alike"}, steps=6),
    "weightless_negatives": rolled_with(  # all rewards above 0, and no baseline
        {"name": "trl_function", "function": "tried_rewards:by_length"},
        algorithm={"name": "grpo", "kl_coef": 0, "advantage": "raw"},
        steps=11,
    ),
    "mismatch": rolled_with(
        {"name": "trl_function", "function": "tried_rewards:by_length"},
        learner=RATE | {"learning_rate": 0.3},
        mini_batches=2,
        steps=3,
    ),
}
ALARMS = {"collapse": {"window": 2}}


@pytest.mark.parametrize("alarm", CASES)
def test_an_alarm_warns_in_the_console_in_the_metrics_and_in_the_summary(alarm, tiny_recipe, cli):
    recipe = tiny_recipe(CASES[alarm], tracking={"console": "plain"}, alarms=ALARMS)
    code, out, _ = cli("train", recipe.path)
    assert code == 0 and alarm in out and "warning" in out
    summary = json.loads((recipe.run_dir / "summary.json").read_text())
    heard = next(entry for entry in summary["alarms"] if entry["alarm"] == alarm)
    lines = [line for line in read_metrics(recipe.run_dir / "metrics.jsonl") if line["stage"] == heard["stage"]]
    assert [line["step"] for line in lines if line.get(f"alarm/{alarm}")][0] == heard["step"]


@pytest.mark.parametrize("name", ["gkd", "opd"])
def test_a_method_that_learns_from_no_reward_is_not_told_that_rewards_are_flat(name, tiny_recipe, cli):
    stage = CASES["flat_reward"] | {"name": name, "algorithm": {"name": name}}
    recipe = tiny_recipe(stage, teacher="base", alarms={"flat_reward": {"patience": 1}})
    assert cli("train", recipe.path)[0] == 0
    lines = list(read_metrics(recipe.run_dir / "metrics.jsonl"))
    assert any(line.get("group/zero_variance_fraction") == 1.0 for line in lines), "flat they are"
    heard = json.loads((recipe.run_dir / "summary.json").read_text())["alarms"]
    assert "flat_reward" not in {entry["alarm"] for entry in heard}


@pytest.mark.parametrize("alarm", ["collapse", "no_update", "flat_reward"])
def test_an_alarm_can_stop_the_run_and_going_on_takes_a_decision(alarm, tiny_recipe, cli):
    recipe = tiny_recipe(CASES[alarm], alarms={alarm: {"action": "stop"} | ALARMS.get(alarm, {})})
    for _ in range(2):
        code, _, err = cli("train", recipe.path)
        assert code == 1 and err.startswith(f"failed: alarm {alarm} stopped stage ")
        assert f"add alarms.{alarm}.action=warn" in err
    code, out, _ = cli("train", recipe.path, f"alarms.{alarm}.action=warn")
    assert code == 0 and f"{alarm} at step" in out.split("alarms: ")[1]


def test_an_alarm_after_a_stop_and_a_restart_is_that_of_an_undisturbed_run(tiny_recipe, cli, tmp_path):
    recipe = tiny_recipe(CASES["collapse"], alarms={"collapse": {"window": 3}})
    assert cli("train", recipe.path, f"run_dir={tmp_path / 'whole'}")[0] == 0
    assert cli("train", recipe.path, "alarms.collapse.action=stop")[0] == 1
    assert cli("train", recipe.path)[0] == 0
    heard, undisturbed = (
        json.loads((run / "summary.json").read_text())["alarms"] for run in (recipe.run_dir, tmp_path / "whole")
    )
    assert heard == undisturbed != []


def test_a_stop_at_the_last_step_takes_a_decision_too(tiny_recipe, cli):
    stage = CASES["no_update"] | {"steps": 5}
    recipe = tiny_recipe(stage, alarms={"no_update": {"action": "stop"}})
    for _ in range(2):
        code, _, err = cli("train", recipe.path)
        assert code == 1 and err.startswith("failed: alarm no_update stopped stage ")
    assert cli("train", recipe.path, "alarms.no_update.action=warn")[0] == 0
