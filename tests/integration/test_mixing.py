"""A stage with several objectives in a real run: what it records, what it may hold, and what is refused."""

import json
from dataclasses import replace

import pytest
from tiny_runs import rolled_out, taught

from rl_distill.recipe import load_recipe
from rl_distill.tracking import read_metrics
from rl_distill.tracking.metric_names import explain
from rl_distill.training.fingerprint import run_digests


def mixed(name: str = "redi", weight: float = 0.5, **changes):
    """GRPO with an offline algorithm beside it."""
    other = taught(name)
    beside = {"name": "pairs", "algorithm": other["algorithm"], "source": other["source"], "weight": weight}
    return rolled_out(beside=[beside | changes])


def test_a_mixed_run_tells_its_sources_apart_in_metrics_and_ledger(tiny_recipe, cli):
    recipe = tiny_recipe(mixed())
    assert cli("train", recipe.path)[0] == 0
    lines = [line for line in read_metrics(recipe.run_dir / "metrics.jsonl") if line["stage"] == "grpo"]
    for line in lines:
        assert line["gradient/share/main"] + line["gradient/share/pairs"] == pytest.approx(1)
        if min(line["gradient/share/main"], line["gradient/share/pairs"]) > 0:  # groups may be flat
            assert abs(line["gradient/agreement"]) <= 1 + 1e-5
        assert {"reward/mean", "policy/ratio", "beside/pairs/logprob/margin", "beside/pairs/source/epoch"} <= line.keys()
        assert "logprob/margin" not in line
        assert [path for path in line if path not in ("stage", "step") and explain(path) is None] == []
    ledger = [json.loads(line) for line in (recipe.run_dir / "ledger.jsonl").read_text().splitlines()]
    mine = [(line["step"], line.get("beside")) for line in ledger if line["stage"] == "grpo"]
    assert sorted(mine, key=str) == sorted(
        [(step, source) for step in (0, 1) for source in (None, None, "pairs", "pairs")], key=str
    )


def test_a_reference_serves_the_objective_that_needs_one(tiny_recipe, cli):
    recipe = tiny_recipe(mixed("dpo"))
    assert cli("train", recipe.path)[0] == 0
    line = [line for line in read_metrics(recipe.run_dir / "metrics.jsonl") if line["stage"] == "grpo"][0]
    assert line["beside/pairs/loss"] == pytest.approx(0.6931472, abs=1e-5)  # log 2: policy and reference are the same still


def test_rollouts_beside_rollouts_are_others_even_at_the_same_problems(tiny_recipe, cli):
    """Two sources that sample the same problems in the same step must not repeat each other."""
    stage = rolled_out()
    stage["beside"] = [{"name": "again", "algorithm": stage["algorithm"], "source": stage["source"]}]
    recipe = tiny_recipe(stage)
    assert cli("train", recipe.path)[0] == 0
    lines = [json.loads(line) for line in (recipe.run_dir / "trajectories" / "rollouts.jsonl").read_text().splitlines()]
    first = [line for line in lines if line["step"] == 0]
    seeds = [attempt["seed"] for line in first for attempt in line["trajectories"]]
    assert {line["problem"]["id"] for line in first if "beside" in line} == {
        line["problem"]["id"] for line in first if "beside" not in line
    }
    assert len(set(seeds)) == len(seeds) == 12


def test_the_weight_changes_the_students(tiny_recipe, cli, tmp_path):
    found = []
    for weight in (0.1, 5.0):
        recipe = tiny_recipe(mixed(weight=weight), run_dir=str(tmp_path / str(weight)))
        assert cli("train", recipe.path)[0] == 0
        found.append((tmp_path / str(weight) / "final" / "model.safetensors").read_bytes())
    assert found[0] != found[1]


REFUSED = {
    "weight=0": "stages.grpo.beside.pairs.weight: is 0; give a number above 0",
    "name=main": "stages.grpo.beside: two objectives of the stage are named 'main' (main is its own)",
    "algorithm.name=grpo": "stages.grpo.beside.pairs.algorithm: 'grpo' trains on what the student samples",
    "source.problems.attempts=none": "stages.grpo.beside.pairs.source.problems",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_stands_beside_is_checked_like_a_stage_and_named_by_its_path(override, tiny_recipe, cli):
    recipe = tiny_recipe(mixed())
    code, _, err = cli("train", recipe.path, f"stages.grpo.beside.pairs.{override}")
    assert code == 2 and err.startswith(f"error: {REFUSED[override]}"), err


def test_a_stage_without_anything_beside_it_has_one_objective(tiny_recipe):
    stage = load_recipe(tiny_recipe(mixed()).path).stages[0]
    assert [type(objective).__name__ for objective in stage.objectives] == ["Stage", "Beside"]
    assert replace(stage, beside=()).objectives == (replace(stage, beside=()),)


def test_data_of_an_objective_beside_is_part_of_what_a_run_is_made_of(tiny_recipe, tmp_path):
    rows = tmp_path / "rows.jsonl"
    digests = []
    for answer in ("4", "5"):
        rows.write_text(json.dumps({"problem": "2 + 2 = ?", "answer": answer}) + "\n")
        source = {"name": "dataset", "problems": {"name": "jsonl", "path": str(rows)}, "groups_per_step": 2}
        recipe = tiny_recipe(mixed(source=source))
        digests.append(run_digests(load_recipe(recipe.path)))
    assert digests[0].keys() == digests[1].keys() == {"stages.grpo.beside.pairs.source.problems"}
    assert digests[0] != digests[1]
