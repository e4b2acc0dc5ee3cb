"""A run that takes a stage over ends with what it would have made itself, killed in between or not."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_runs import RecipeFile, rolled_out, taught, write_recipe

from rl_distill.analysis.costs import run_costs
from rl_distill.recipe import load_recipe
from rl_distill.sealing import damage
from rl_distill.training import shared_stages
from rl_distill.training.run import train
from rl_distill.training.shared_stages import stage_keys

EVALUATION = {
    "problems": {"name": "arithmetic", "split": "heldout", "num_problems": 4, "levels": [1]},
    "num_samples": 2,
    "sampling": {"max_tokens": 12},
}


@pytest.fixture
def recipes(tmp_path: Path) -> list[RecipeFile]:
    """One base and one SFT, and two kinds of GRPO after them."""
    found = []
    for kl_coef in (0, 0.1):
        folder = tmp_path / str(kl_coef)
        folder.mkdir()
        last = rolled_out(algorithm={"name": "grpo", "kl_coef": kl_coef})
        found.append(write_recipe(folder, taught("sft"), last, evaluation=EVALUATION))
    return found


def run(recipe: RecipeFile, store: Path | None = None) -> list[str]:
    loaded, said = load_recipe(recipe.path), []
    keys = stage_keys(loaded)
    train(loaded, said.append, shared=[store / keys[name] for name in ("base", "sft")] if store else ())
    return said


def outcome(run_dir: Path) -> dict[str, object]:
    """Everything but seconds."""
    records = ("metrics.jsonl", "ledger.jsonl", "schedule.jsonl", "trajectories/rollouts.jsonl")
    timed = ("time/", "seconds")
    lines = {name: [json.loads(line) for line in (run_dir / name).read_text().splitlines()] for name in records}
    kept = {
        name: [{key: value for key, value in row.items() if not key.startswith(timed)} for row in rows]
        for name, rows in lines.items()
    }
    results = {path.parent.name: json.loads(path.read_text()) for path in run_dir.glob("stages/*/result.json")}
    for result in results.values():
        del result["seconds"], result["evaluations"]["seconds"]
    weights = {path.parent.parent.name: path.read_bytes() for path in run_dir.glob("stages/*/student/model.safetensors")}
    return {"records": kept, "results": results, "weights": weights}


def test_a_stage_that_is_taken_over_is_the_one_that_would_have_been_trained(recipes, tmp_path: Path) -> None:
    run(recipes[0])  # fills the cache with the base student
    shutil.rmtree(recipes[0].run_dir)
    run(recipes[1])
    alone, costs = outcome(recipes[1].run_dir), run_costs(recipes[1].run_dir)
    shutil.rmtree(recipes[1].run_dir)
    run(recipes[0], tmp_path / "store")
    said = run(recipes[1], tmp_path / "store")
    assert [line.split(":")[0] for line in said if line.endswith("; taken over")] == ["base", "sft"]
    shared = outcome(recipes[1].run_dir)
    assert shared == alone
    assert load_file(recipes[1].run_dir / "final" / "model.safetensors")
    route, expected = run_costs(recipes[1].run_dir).routes[-1].cost, costs.routes[-1].cost
    assert (route.trained_tokens, route.student_flops, route.teacher_tokens) == (
        expected.trained_tokens,
        expected.student_flops,
        expected.teacher_tokens,
    )


def test_a_run_that_was_killed_while_it_took_a_stage_over_takes_it_again(recipes, tmp_path: Path) -> None:
    run(recipes[0], tmp_path / "store")
    run(recipes[1], tmp_path / "store")
    expected = outcome(recipes[1].run_dir)
    shutil.rmtree(recipes[1].run_dir / "stages" / "sft")  # the records are there, the stage is not yet sealed
    assert "sft: 2 steps" in "\n".join(run(recipes[1], tmp_path / "store"))
    assert outcome(recipes[1].run_dir) == expected


def test_a_damaged_entry_is_trained_again_and_left_intact(recipes, tmp_path: Path) -> None:
    run(recipes[0], tmp_path / "store")
    keys = stage_keys(load_recipe(recipes[0].path))
    entry = tmp_path / "store" / keys["sft"]
    (entry / "stage" / "result.json").write_text("{}")
    said = run(recipes[1], tmp_path / "store")
    assert not any(line.startswith("sft:") and "taken over" in line for line in said)
    assert (
        damage(entry) is None and outcome(recipes[1].run_dir)["weights"]["sft"] == outcome(recipes[0].run_dir)["weights"]["sft"]
    )


def test_a_run_that_was_killed_before_it_left_a_stage_leaves_it_when_it_goes_on(recipes, tmp_path: Path) -> None:
    run(recipes[0])
    run(recipes[0], tmp_path / "store")  # every stage is finished, and later ones have written behind them
    said = run(recipes[1], tmp_path / "store")
    assert [line.split(":")[0] for line in said if line.endswith("; taken over")] == ["base", "sft"]
    alone = recipes[1].run_dir.with_name("alone")
    train(load_recipe(recipes[1].path, [f"run_dir={alone}"]), said.append)
    assert outcome(recipes[1].run_dir)["weights"] == outcome(alone)["weights"]
    assert outcome(recipes[1].run_dir)["records"] == outcome(alone)["records"]


def forget_the_end_of(run_dir: Path, stage: str) -> None:
    shutil.rmtree(run_dir / "stages" / stage)
    shutil.rmtree(run_dir / "checkpoints" / stage / "step-00000002")


def forget_all_of(run_dir: Path, stage: str) -> None:
    shutil.rmtree(run_dir / "stages" / stage)
    shutil.rmtree(run_dir / "checkpoints" / stage)


@pytest.mark.parametrize("forget", [None, forget_the_end_of, forget_all_of], ids=["finished", "continued", "begun after others"])
def test_what_other_code_has_made_or_begun_is_left_under_no_key(recipes, tmp_path: Path, monkeypatch, forget) -> None:
    run(recipes[0])
    if forget is not None:
        forget(recipes[0].run_dir, "sft")
    monkeypatch.setattr(shared_stages, "_package_digest", lambda: "other code")
    said = run(recipes[0], tmp_path / "store")
    assert any(line.startswith("sft: 2 steps") for line in said) == (forget is not None), "the run itself goes on"
    assert not (tmp_path / "store").exists()


def test_a_run_whose_first_stages_other_code_has_made_takes_over_none_that_starts_from_them(
    recipes, tmp_path, monkeypatch
) -> None:
    run(recipes[1])
    forget_all_of(recipes[1].run_dir, "sft")
    monkeypatch.setattr(shared_stages, "_package_digest", lambda: "other code")
    run(recipes[0], tmp_path / "store")
    assert len(list((tmp_path / "store").iterdir())) == 2
    assert not any("taken over" in line for line in run(recipes[1], tmp_path / "store"))


def test_checkpoints_change_nothing_of_a_stage_so_runs_share_it_and_go_on(recipes, tmp_path: Path) -> None:
    run(recipes[0], tmp_path / "store")
    rare = recipes[1].change(checkpoints={"every_steps": 100})
    said = run(rare, tmp_path / "store")
    assert [line.split(":")[0] for line in said if line.endswith("; taken over")] == ["base", "sft"]
    shared = outcome(rare.run_dir)
    forget_all_of(rare.run_dir, "grpo")
    assert any(line.startswith("grpo: 2 steps") for line in run(rare.change(checkpoints={"every_steps": 1})))
    assert outcome(rare.run_dir) == shared
    shutil.rmtree(rare.run_dir)
    run(rare.change(checkpoints={"every_steps": 100}))
    assert outcome(rare.run_dir)["weights"] == shared["weights"]
