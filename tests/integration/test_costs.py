"""Real runs keep the books that `rl-distill costs` reads: every step counted, in the run, after a resume and from the cache."""

import json
import shutil

import pytest
from tiny_runs import rolled_out, taught, write_recipe

from rl_distill.cli import main
from rl_distill.recipe import load_recipe
from rl_distill.training.run import train

EVALUATION = {
    "problems": {"name": "arithmetic", "split": "heldout", "num_problems": 4, "levels": [1]},
    "sampling": {"max_tokens": 12},
    "num_samples": 2,
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RL_DISTILL_CACHE", str(tmp_path / "cache"))


def results(folder) -> dict:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("stages/*/result.json")}


def test_every_stage_counts_what_it_did_the_cached_base_too(tmp_path, capsys) -> None:
    stages = [taught(), rolled_out(algorithm={"name": "grpo", "kl_coef": 0.01})]
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        train(load_recipe(write_recipe(tmp_path / name, *stages, evaluation=EVALUATION).path), say=lambda line: None)
    found = results(tmp_path / "second" / "run")
    for result in found.values():
        assert result["work"]["steps"] == result["step"] and result["work"]["training/logits"] == result["trained_tokens"]
        assert result["work"].get("sampling/tokens", 0) == result["generated_tokens"]
        assert result["evaluations"]["sampling/tokens"] == result["evaluation"]["generated_tokens"]
    assert found["grpo"]["work"]["reference/tokens"] == found["grpo"]["work"]["training/tokens"] > 0
    assert found["base"]["work"] == results(tmp_path / "first" / "run")["base"]["work"]
    assert main(["costs", str(tmp_path / "second" / "run")]) == 0
    printed = capsys.readouterr().out
    assert "all stages once" in printed and (tmp_path / "second" / "run" / "costs" / "costs.json").exists()


def test_attempts_of_flat_groups_are_counted_apart(tmp_path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, rolled_out(steps=2, algorithm={"name": "grpo", "kl_coef": 0.0})).path)
    train(recipe, say=lambda line: None)
    result = results(recipe.folder)["grpo"]
    work = result["work"]
    assert work["training/logits"] + work["still/logits"] == result["trained_tokens"]
    groups = [json.loads(line) for line in (recipe.folder / "trajectories/rollouts.jsonl").read_text().splitlines()]
    scores = [[one["score"]["value"] for one in group["trajectories"]] for group in groups]
    assert sum(map(len, scores)) == work["sampling/attempts"]
    assert work["still/rows"] == sum(len(group) for group in scores if min(group) == max(group)) > 0


def test_the_books_go_on_where_a_run_does(tmp_path) -> None:
    """A stage that has lost its folder goes on from its last checkpoint: its last evaluation alone is done again."""
    recipe = load_recipe(write_recipe(tmp_path, rolled_out(steps=3), evaluation=EVALUATION | {"every_steps": 1}).path)
    train(recipe, say=lambda line: None)
    before = results(recipe.folder)["grpo"]
    shutil.rmtree(recipe.folder / "stages" / "grpo")
    train(recipe, say=lambda line: None)
    after = results(recipe.folder)["grpo"]
    assert before["work"] == after["work"] and before["work"]["steps"] == 3
    assert before["evaluations"]["count"] == after["evaluations"]["count"] == 3 + 1


def test_what_is_no_run_is_refused_in_one_line(tmp_path, capsys) -> None:
    assert main(["costs", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
