"""Runs on programs as answers: each problem is judged by what it has, its tests or its gold answer."""

import json
from pathlib import Path
from typing import Any

import pytest
from isolation import why_not
from refusals import last_line, refused
from tiny_runs import rolled_out

from rl_distill.problems.base import dialogue, teacher_trajectory
from rl_distill.records import group_to_dict, read_groups
from rl_distill.trajectory import Group, Problem, Verdict

ECHO = Problem(id="echo", prompt="Echo.", answer=None, source="code", metadata={"tests": [{"stdin": "hi", "stdout": "hi"}]})
SUM = Problem(id="sum", prompt="2+2?", answer="4", source="math")
ANSWERS = {"echo": "```python\nprint(input())\n```", "sum": "\\boxed{4}"}
BOTH = [{"name": "accuracy"}, {"name": "unit_tests", "workers": 1, "deadline": 60}]
BLIND = [{"name": "soft_overlong", "max_tokens": 40, "cache_tokens": 20}]
isolated = pytest.mark.skipif(bool(why_not()), reason=why_not())


def problems_of(path: Path, *problems: Problem) -> dict[str, str]:
    """A set of problems, each with the answer that is right."""
    right = Verdict(status="correct", method="test")
    groups = [
        Group(
            problem=one,
            trajectories=(teacher_trajectory(one, dialogue(one.prompt, ANSWERS[one.id]), model="teacher", verdict=right),),
        )
        for one in problems
    ]
    path.write_text("".join(json.dumps(group_to_dict(group)) + "\n" for group in groups))
    return {"name": "records", "path": str(path)}


def student(problems: dict[str, str], steps: int) -> dict[str, Any]:
    """It has learnt the two answers by heart."""
    pretraining = {
        "algorithm": {"name": "sft"},
        "source": {"name": "dataset", "problems": problems, "groups_per_step": 2},
        "learner": {"learning_rate": 1e-2, "schedule": "constant"},
        "steps": steps,
    }
    return {
        "model": {
            "tokenizer": {"name": "byte_bpe", "vocab_size": 320, "texts": problems},
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_layers": 1,
            "num_key_value_heads": 1,
            "max_context": 160,
            "pretraining": pretraining,
        }
    }


def grpo(problems: dict[str, str], rewards: list[dict[str, Any]]) -> dict[str, Any]:
    stage = rolled_out(steps=1)
    stage["source"] |= {"problems": problems, "rewards": rewards, "sampling": {"max_tokens": 40}, "group_size": 4}
    return stage


def evaluated(problems: dict[str, str], *names: str) -> dict[str, Any]:
    graders = {"verifiers": [{"name": name} for name in names]} if names else {}
    return {"problems": problems, "num_samples": 2, "sampling": {"max_tokens": 40}, **graders}


@isolated
def test_a_run_on_programs_and_sums_judges_each_by_what_it_has_and_evaluates_both(tiny_recipe, tmp_path, cli):
    both = problems_of(tmp_path / "both.jsonl", ECHO, SUM)
    recipe = tiny_recipe(
        grpo(both, BOTH),
        student=student(both, steps=80),
        evaluation=evaluated(both, "accuracy", "unit_tests"),
        checkpoints={"every_steps": 100},
    )
    code, _, err = cli("train", recipe.path)
    assert (code, err) == (0, "")
    scores = {
        group.problem.id: [attempt.score for attempt in group.trajectories]
        for group in read_groups(recipe.run_dir / "trajectories" / "rollouts.jsonl")
    }
    methods = {name: {score.verdict.method for score in found} for name, found in scores.items()}
    assert "tests" in methods["echo"] and "exact" in methods["sum"], "the student knows both answers"
    assert not {"no_gold", "no_tests"} & (methods["echo"] | methods["sum"])
    assert all((score.value == 1.0) == (score.verdict.status == "correct") for found in scores.values() for score in found)
    result = json.loads((recipe.run_dir / "stages" / "grpo" / "result.json").read_text())["evaluation"]
    assert set(result["problem_accuracy"]) == {"echo", "sum"} and result["unverifiable"] == 0
    assert result["problem_accuracy"]["echo"] > 0


UNKNOWN = Problem(id="open", prompt="Why?", answer=None, source="none")
BROKEN = Problem(id="broken", prompt="Echo.", answer=None, source="code", metadata={"tests": [{"stdin": "hi"}]})
ANSWERS |= {"open": "?", "broken": "?"}


@pytest.mark.parametrize(
    ("problems", "rewards", "message"),
    [
        ([ECHO, SUM], BOTH[:1], "problem 'echo' has no gold answer to verify against"),
        ([ECHO, SUM], BOTH[1:], "problem 'sum' has no tests to verify against"),
        ([SUM, UNKNOWN], BOTH, "problem 'open' has no gold answer and no tests to verify against"),
        ([SUM], BOTH, "no problem has tests for 'unit_tests' to judge by; leave that verifier out"),
        ([BROKEN], BOTH[1:], "problem 'broken', tests[0]: is {'stdin': 'hi'}, which is no test"),
    ],
)
@isolated
def test_problems_that_nobody_can_judge_and_verifiers_without_any_are_refused_before_the_run(
    problems, rewards, message, tiny_recipe, tmp_path, cli
):
    found = problems_of(tmp_path / "found.jsonl", *problems)
    made = student(problems_of(tmp_path / "both.jsonl", ECHO, SUM), steps=1)
    names = [reward["name"] for reward in rewards]
    for number, changes in enumerate(
        (
            {"stages": [grpo(found, rewards)]},
            {"stages": [grpo(found, BLIND)], "evaluation": evaluated(found, *names)},
        )
    ):
        recipe = tiny_recipe(student=made, run_dir=str(tmp_path / f"run-{number}"), **changes)
        assert message in refused(last_line(cli("train", recipe.path)))


@pytest.mark.parametrize(
    ("verifiers", "message"),
    [
        ([{"name": "accuracy"}, {"name": "accuracy"}], "verifiers: 'accuracy' is there twice"),
        ([{"name": "unit_tests", "wrong": -1}], "correct, wrong and weight have no effect here"),
        ([{"name": "format"}], "evaluation.verifiers"),
        ([], "evaluation.verifiers"),
    ],
)
def test_an_evaluation_takes_each_verifier_once_and_with_nothing_that_only_rewards_have(verifiers, message, tiny_recipe, cli):
    evaluation = {"problems": {"name": "arithmetic", "num_problems": 4}, "verifiers": verifiers}
    assert message in refused(cli("train", tiny_recipe(evaluation=evaluation).path))
