"""What whole tiny runs must do: refill, evaluate on the way, keep the best, and notice that what they read has changed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import rolled_out, taught

from rl_distill.tracking import read_metrics

HELD_OUT = {"problems": {"name": "arithmetic", "split": "heldout", "num_problems": 6, "levels": [1]}, "num_samples": 2}


def lines(run_dir: Path, stage: str) -> list[dict[str, Any]]:
    return [line for line in read_metrics(run_dir / "metrics.jsonl") if line["stage"] == stage]


def weights(run_dir: Path) -> bytes:
    return (run_dir / "final" / "model.safetensors").read_bytes()


def test_flat_groups_are_replaced_up_to_the_bound(tiny_recipe, cli):
    """An untrained student is wrong everywhere: every group is flat, so each step draws its refills and learns nothing."""
    stage = rolled_out("dapo", algorithm={"name": "dapo", "max_refills": 2})
    stage["source"]["rewards"] = [{"name": "accuracy"}]
    recipe = tiny_recipe(stage)
    code, _, err = cli("train", recipe.path)
    assert (code, err) == (0, "")
    for line in lines(recipe.run_dir, "dapo"):
        assert (line["rollout/refills"], line["group/count"], line["batch/sequences"]) == (2, 6, 0)  # two problems, three rounds
        assert line["rollout/generated_tokens"] > 0 and line["group/zero_variance_fraction"] == 1
    before, after = ((recipe.run_dir / folder / "model.safetensors").read_bytes() for folder in ("stages/base/student", "final"))
    assert before == after


def test_refills_draw_the_problems_that_come_next_and_a_resumed_run_draws_the_same(tiny_recipe, cli):
    stage = rolled_out("dapo", steps=3, algorithm={"name": "dapo", "max_refills": 1})
    stage["source"]["rewards"] = [{"name": "accuracy"}]
    recipe = tiny_recipe(stage)
    assert cli("train", recipe.path)[0] == 0
    states = {
        path.name: json.loads((path / "state.json").read_text())["sources"][""]["taken"]
        for path in (recipe.run_dir / "checkpoints" / "dapo").glob("step-*")
    }
    assert states == {"step-00000002": 8, "step-00000003": 12}  # two problems and two more in each step
    before = (recipe.run_dir / "ledger.jsonl").read_bytes(), weights(recipe.run_dir)
    shutil.rmtree(recipe.run_dir / "stages" / "dapo")
    shutil.rmtree(recipe.run_dir / "checkpoints" / "dapo" / "step-00000003")
    assert cli("train", recipe.path)[0] == 0
    assert before == ((recipe.run_dir / "ledger.jsonl").read_bytes(), weights(recipe.run_dir))


def test_evaluation_on_the_way_changes_no_weight_and_the_best_checkpoint_stays(tiny_recipe, cli, tmp_path):
    """Six steps, an evaluation after each second; with one newest checkpoint kept, the best of the earlier ones stays too."""
    stage = rolled_out(steps=6)
    sampling = {"max_tokens": 12}
    plain = tiny_recipe(stage)
    assert cli("train", plain.path)[0] == 0
    expected = weights(plain.run_dir)
    evaluation = {**HELD_OUT, "sampling": sampling, "every_steps": 2}
    other = plain.change(
        run_dir=str(tmp_path / "measured"), evaluation=evaluation, checkpoints={"every_steps": 100, "keep_last": 1}
    )
    assert cli("train", other.path)[0] == 0
    run_dir = tmp_path / "measured"
    assert weights(run_dir) == expected
    measured = [line for line in lines(run_dir, "grpo") if "evaluation/accuracy" in line]
    assert [line["step"] for line in measured] == [1, 3, 5]
    assert all(line["evaluation/low"] <= line["evaluation/accuracy"] <= line["evaluation/high"] for line in measured)
    best = max(measured, key=lambda line: line["evaluation/accuracy"])["step"] + 1
    kept = {path.name for path in (run_dir / "checkpoints" / "grpo").glob("step-*")}
    assert kept == {"step-00000006", f"step-{best:08d}"}


@pytest.mark.parametrize("finished", [False, True])
def test_a_run_is_not_continued_on_changed_data(finished, tiny_recipe, cli, tmp_path):
    data = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"{number} + 2 = ?", "completion": f"\\boxed{{ {number + 2} }}"} for number in range(1, 7)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = taught()
    stage["source"] = {"name": "dataset", "problems": {"name": "trl", "path": str(data)}, "groups_per_step": 2}
    recipe = tiny_recipe(stage, *([] if finished else [taught("redi")]))
    assert cli("train", recipe.path)[0] == 0
    data.write_text("".join(json.dumps(row) + "\n" for row in rows[::-1]))
    code, _, err = cli("train", recipe.path)
    assert code == 2 and "was made with other data at stages.sft.source.problems; restore that data" in err
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli("train", recipe.path)[0] == 0


def test_steps_of_the_run_count_on_when_a_stage_before_is_done_again(tiny_recipe, cli):
    recipe = tiny_recipe(taught(), taught("redi"))
    assert cli("train", recipe.path)[0] == 0
    before = [line["run/step"] for line in read_metrics(recipe.run_dir / "metrics.jsonl")]
    shutil.rmtree(recipe.run_dir / "stages" / "sft")
    shutil.rmtree(recipe.run_dir / "checkpoints" / "sft")
    assert cli("train", recipe.path)[0] == 0
    assert [line["run/step"] for line in read_metrics(recipe.run_dir / "metrics.jsonl")] == before


def test_recorded_tokens_of_another_student_are_refused(tiny_recipe, cli):
    recipe = tiny_recipe(rolled_out())
    assert cli("train", recipe.path)[0] == 0
    recorded = recipe.run_dir / "trajectories" / "rollouts.jsonl"
    row = json.loads(recorded.read_text().splitlines()[0])
    for trajectory in row["trajectories"]:
        trajectory["token_ids"] = [(token + 1) % 48 for token in trajectory["token_ids"]]
    foreign = recipe.path.parent / "foreign.jsonl"
    foreign.write_text(json.dumps(row) + "\n")
    for path, expected in ((recorded, 0), (foreign, 2)):
        stage = taught(algorithm={"name": "sft", "traces": "all"})
        stage["source"] = {"name": "dataset", "problems": {"name": "records", "path": str(path)}, "groups_per_step": 1}
        other = recipe.change(stages=[stage], run_dir=str(recipe.path.parent / path.stem))
        code, _, err = cli("train", other.path)
        assert code == expected, err
        assert ("recorded tokens that are not its text" in err) == bool(expected)


def test_the_schedule_follows_the_rounds_and_counts_are_the_rounds_own_however_many_mini_batches_there_are(tiny_recipe, cli):
    """Two pairs cannot make eight updates: the rate must come down all the same."""
    falling = {"learning_rate": 1e-3, "schedule": "linear", "warmup_steps": 0}
    found = {}
    for count in (1, 8):
        recipe = tiny_recipe(taught("redi", learner=falling, steps=4, mini_batches=count))
        assert cli("train", recipe.path, f"run_dir={recipe.run_dir}-{count}")[0] == 0
        lines = read_metrics(Path(f"{recipe.run_dir}-{count}") / "metrics.jsonl")
        found[count] = [line for line in lines if line["stage"] == "redi"]
    for whole, cut in zip(found[1], found[8], strict=True):
        for path in ("batch/tokens", "batch/sequences", "batch/units", "credit/negatives"):
            assert cut[path] == whole[path] > 0
        assert cut["learner/learning_rate"] == pytest.approx(whole["learner/learning_rate"], abs=1e-4)
    rates = [line["learner/learning_rate"] for line in found[8]]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.4 * rates[0]
