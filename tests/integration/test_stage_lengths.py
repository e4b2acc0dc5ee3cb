"""A stage whose length is an amount ends with the step that reaches it, and goes on to the same step after a stop."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import rolled_out, taught

from rl_distill.analysis.costs import run_costs

LEARNER = {"learning_rate": 1e-3, "schedule": "constant", "warmup_fraction": 0}


def spent(run_dir: Path, stage: str) -> dict[str, Any]:
    return dict(json.loads((run_dir / "stages" / stage / "result.json").read_text()))


@pytest.mark.parametrize("make", [taught, rolled_out])
def test_trained_tokens_end_a_stage(make, tiny_recipe, cli) -> None:
    stage = make(steps=None, max_trained_tokens=200, learner=LEARNER)
    recipe = tiny_recipe(stage)
    assert cli("train", recipe.path)[0] == 0
    lines = [json.loads(line) for line in (recipe.run_dir / "metrics.jsonl").read_text().splitlines()]
    reached = [line["run/trained_tokens"] for line in lines if line["stage"] == stage["name"]]
    assert len(reached) > 1 and reached[-2] < 200 <= reached[-1] == spent(recipe.run_dir, stage["name"])["trained_tokens"]


def test_flops_end_a_stage_as_the_costs_count_them(tiny_recipe, cli) -> None:
    """With a reference that reads along, so that every kind of work is in it."""
    changes: dict[str, Any] = {"algorithm": {"name": "grpo", "kl_coef": 0.1}, "learner": LEARNER}
    two_steps = tiny_recipe(rolled_out(steps=2, **changes))
    assert cli("train", two_steps.path)[0] == 0
    most = run_costs(two_steps.run_dir).stages["grpo"].cost.all_flops
    assert most is not None
    for factor, steps in ((1, 2), (1.001, 3)):
        run_dir = two_steps.run_dir.with_name(f"to_{steps}")
        recipe = tiny_recipe(rolled_out(steps=None, max_flops=most * factor, **changes), run_dir=str(run_dir))
        assert cli("train", recipe.path)[0] == 0
        assert spent(run_dir, "grpo")["step"] == steps


def test_seconds_end_a_stage(tiny_recipe, cli) -> None:
    recipe = tiny_recipe(taught(steps=None, max_seconds=1e-6, learner=LEARNER))
    assert cli("train", recipe.path)[0] == 0
    assert spent(recipe.run_dir, "sft")["step"] == 1


def test_a_stage_with_nothing_left_to_learn_says_so_and_ends(tiny_recipe, cli, monkeypatch) -> None:
    """Rewards that never differ leave GRPO without a sample, and trained tokens never come."""
    monkeypatch.setattr("rl_distill.training.stage_run.MAX_STALLED_STEPS", 4)
    algorithm = {"name": "grpo", "kl_coef": 0, "drop_flat_groups": True}
    stage = rolled_out(steps=None, max_trained_tokens=50, learner=LEARNER, algorithm=algorithm)
    stage["source"]["rewards"] = [{"name": "soft_overlong", "max_tokens": 150, "cache_tokens": 1}]
    code, _, err = cli("train", tiny_recipe(stage).path)
    assert code == 1 and "stage 'grpo' came no nearer to its end in 4 steps" in err


@pytest.mark.parametrize("key", ["max_trained_tokens=9", "max_flops=9", "max_seconds=9"])
def test_a_length_of_no_known_steps_needs_a_constant_rate(key, tiny_recipe, cli) -> None:
    stage = taught(steps=None, learner={"learning_rate": 1e-3, "schedule": "linear"})
    code, _, err = cli("train", tiny_recipe(stage).path, f"stages.sft.{key}")
    assert code == 2 and "learner.schedule: 'linear' needs a known number of steps; use constant, or give steps" in err
