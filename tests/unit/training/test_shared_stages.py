"""Which stages of two recipes are the same stage."""

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import rolled_out, taught, write_recipe

from rl_distill.recipe import load_recipe
from rl_distill.training.shared_stages import stage_keys


@pytest.fixture
def keys(tmp_path: Path):
    def of(*overrides: str) -> dict[str, str]:
        path = write_recipe(tmp_path, taught("sft"), taught("redi"), rolled_out(start="sft")).path
        return stage_keys(load_recipe(path, overrides))

    return of


def same(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {name for name in one if one[name] == other[name]}


def test_a_change_reaches_its_own_stage_and_those_after_it(keys) -> None:
    assert same(keys(), keys()) == {"base", "sft", "redi", "grpo"}
    assert same(keys(), keys("stages.redi.algorithm.negative_coef=0.3")) == {"base", "sft"}
    assert same(keys(), keys("stages.grpo.steps=9")) == {"base", "sft", "redi"}
    assert same(keys(), keys("stages.sft.source.problems.num_problems=7")) == {"base"}


@pytest.mark.parametrize("override", ["seed=1", "student.model.hidden_size=32", "engine.shard_size=3", "name=other"])
def test_what_all_stages_depend_on_changes_all(keys, override: str) -> None:
    assert same(keys(), keys(override)) == set()


@pytest.mark.parametrize("override", ["run_dir=elsewhere", "tracking.console=plain", "tracking.wandb={mode: offline}"])
def test_what_nothing_depends_on_changes_none(keys, override: str) -> None:
    assert same(keys(), keys(override)) == {"base", "sft", "redi", "grpo"}


def test_a_start_that_is_spelled_out_is_the_one_that_is_meant(keys) -> None:
    assert same(keys(), keys("stages.sft.start=base", "stages.redi.start=sft")) == {"base", "sft", "redi", "grpo"}


def test_other_data_makes_another_stage(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    line = '{"problem": "1 + 1 = ?", "answer": "2", "solution": "1 + 1 = 2 \\\\boxed{2}"}\n'
    stage = taught("redi", source={"name": "dataset", "problems": {"name": "jsonl", "path": str(rows)}})
    recipe = load_recipe(write_recipe(tmp_path, taught("sft"), stage).path)
    rows.write_text(line)
    before = stage_keys(recipe)
    rows.write_text(line * 2)
    assert same(before, stage_keys(recipe)) == {"base", "sft"}
