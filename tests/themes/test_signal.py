"""Themes 12, 14, 17, 25: what would look like a reward, a success or a setting, and is none."""

import ast
import json
import re
from pathlib import Path

import pytest
from tiny_runs import rolled_out, taught

import rl_distill
from rl_distill.algorithms import ALGORITHMS
from rl_distill.config import keys
from rl_distill.errors import RunError
from rl_distill.evaluation.evaluator import summarize
from rl_distill.recipe import Recipe
from rl_distill.rewards import Accuracy, WeightedRewards, score_groups
from rl_distill.rollout.engine import Request, Sampling, generate_checked
from rl_distill.training.rollout_source import rollout_metrics
from rl_distill.trajectory import Group, Message, Problem, Trajectory

UNREADABLE = "???"
BY_NAME = r"alarms\.\w+|cluster|.*\bname"  # read by going through all fields, or by picking a class from a table


def attempts_at(name: str, gold: str, *answers: str) -> Group:
    """A problem and attempts that box these answers; "" boxes nothing."""
    texts = [rf"so \boxed{{{answer}}}" if answer else "no idea" for answer in answers]
    return Group(
        problem=Problem(id=name, prompt="?", answer=gold, source="test"),
        trajectories=tuple(
            Trajectory(
                problem_id=name,
                messages=(Message("user", "?"), Message("assistant", text)),
                token_ids=(5, 6, 7),
                sampled=(False, True, True),
                behavior_logprobs=(0.0, -1.0, -1.0),
                model="m",
                origin="policy",
            )
            for text in texts
        ),
    )


def test_theme_12_an_unreadable_gold_answer_makes_nothing_correct_and_moves_no_reward_no_credit_and_no_accuracy():
    sound, unreadable = attempts_at("sound", "4", "4", "5", ""), attempts_at("unreadable", UNREADABLE, "4", r"\frac{1}{2}", "")
    graded = score_groups([sound, unreadable], WeightedRewards((Accuracy(deadline=20),)))
    assert [one.status for one in graded[1].trajectories] == ["unverifiable", "unverifiable", "wrong"]
    assert [one.reward for one in graded[1].trajectories] == [None, None, 0.0]
    metrics = rollout_metrics(graded)
    assert metrics["rollout/unverifiable"] == 2
    assert metrics["reward/mean"] == metrics["rollout/correct_fraction"] == 0.25  # 1 of the 4 that could be judged
    assert ALGORITHMS["dr_grpo"]().samples(graded[1]) == []
    judged = summarize(graded)
    assert judged.unverifiable == 2 and judged.problem_accuracy == {"sound": 1 / 3, "unreadable": 0.0}
    with pytest.raises(RunError, match="none of 2 attempts could be verified"):
        summarize(score_groups([attempts_at("unreadable", UNREADABLE, "4", "5")], WeightedRewards((Accuracy(deadline=20),))))


@pytest.mark.parametrize("answered", [[], [0], [1, 0], [0, 0], [0, 1, 1]])
def test_theme_14_an_engine_that_does_not_answer_every_request_is_an_error_and_no_small_step(answered):
    requests = [
        Request(problem_id=str(seed), messages=(), token_ids=(5,), sampling=Sampling(max_tokens=4), seed=seed) for seed in (0, 1)
    ]

    class Dying:
        """An engine that loses requests without a word."""

        version = 0

        def load_weights(self, update):
            return update.digests

        def generate(self, asked):
            return [Trajectory(problem_id=str(seed), seed=seed, messages=(), model="m", origin="policy") for seed in answered]

    with pytest.raises(RunError, match=f"asked for 2 attempts and gave {len(answered)}, or not these"):
        generate_checked(Dying(), requests)


def attributes_read() -> set[str]:
    """Names of attributes that the package reads, where a class checks its own keys left out."""
    found: set[str] = set()
    for path in Path(rl_distill.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        checks = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__post_init__"]
        inside = {id(node) for check in checks for node in ast.walk(check)}
        found |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in inside
        }
    return found


def test_theme_17_every_key_of_a_recipe_is_read_somewhere():
    """A key that is declared and checked and then forgotten is the silent kind of having no effect."""
    read = attributes_read()
    names = {re.sub(r"\[\w+\]", "", entry["key"]) for entry in keys(Recipe)}
    forgotten = {key for key in names if key.rpartition(".")[2] not in read and not re.fullmatch(BY_NAME, key)}
    assert len(names) > 150 and forgotten == set()


def test_theme_14_the_summary_of_an_earlier_and_shorter_run_does_not_outlive_the_failure_of_a_longer_one(tiny_recipe, cli):
    recipe = tiny_recipe(taught())
    for _ in range(2):
        assert cli("train", recipe.path)[0] == 0 and (recipe.run_dir / "summary.json").exists()
    diverging = {"learning_rate": 1e30, "schedule": "constant", "warmup_fraction": 0}
    recipe.change(stages=[taught(), taught("redi", learner=diverging, steps=5)])
    assert cli("train", recipe.path)[0] == 1 and not (recipe.run_dir / "summary.json").exists()


@pytest.mark.parametrize(("advantage", "heard"), [("raw", True), ("group_center", False)])
def test_theme_25_negative_samples_that_vanish_without_a_verdict_are_heard_of_too(
    advantage, heard, tiny_recipe, cli, tmp_path, monkeypatch
):
    """Rewards of 0 and 1 from a function: without a baseline nothing is pushed down, and no verdict says which were wrong."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "alternating.py").write_text("def reward(prompts, **columns): return [float(n % 2) for n in range(len(prompts))]")
    stage = rolled_out(steps=3, algorithm={"name": "grpo", "kl_coef": 0, "advantage": advantage})
    stage["source"]["rewards"] = [{"name": "trl_function", "function": "alternating:reward"}]
    recipe = tiny_recipe(stage, alarms={"weightless_negatives": {"patience": 2}})
    assert cli("train", recipe.path)[0] == 0
    alarms = json.loads((recipe.run_dir / "summary.json").read_text())["alarms"]
    assert [(alarm["alarm"], alarm["step"]) for alarm in alarms] == ([("weightless_negatives", 1)] if heard else [])
