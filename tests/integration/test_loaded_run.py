"""What a notebook reads from a run's folder is what the run wrote."""

import json

import pytest
from tiny_runs import rolled_out, taught, write_recipe

from rl_distill import load_run
from rl_distill.errors import InputError
from rl_distill.training.run import train

EVALUATION = {
    "problems": {"name": "arithmetic", "split": "heldout", "num_problems": 4, "levels": [1]},
    "sampling": {"max_tokens": 12},
    "num_samples": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    recipe = write_recipe(place, taught(), rolled_out(), evaluation=EVALUATION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RL_DISTILL_CACHE", str(place / "cache"))
        train(str(recipe.path), say=lambda line: None)
    return recipe.run_dir


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_frames_hold_what_the_files_hold(folder) -> None:
    run = load_run(folder)
    assert run.finished
    assert run.routes.reset_index().to_dict("records") == json.loads((folder / "summary.json").read_text())["routes"]
    assert len(run.metrics) == len(lines(folder / "metrics.jsonl")) == 2 + 2 + 2
    assert list(run.answers("sft")["response"]) == [row["response"] for row in lines(folder / "stages/sft/evaluation.jsonl")]
    assert run.answers().equals(run.answers("grpo"))
    groups = lines(folder / "trajectories" / "rollouts.jsonl")
    assert list(run.attempts["advantage"]) == [advantage for group in groups for advantage in group["advantages"]]
    assert list(run.attempts["problem"].unique()) == list(dict.fromkeys(group["problem"]["id"] for group in groups))
    assert run.costs().loc["grpo", "sampled_tokens"] == run.routes.loc["grpo", "generated_tokens"] > 0


def test_a_curve_has_a_column_for_each_stage_and_is_smoothed_over_the_steps_before(folder) -> None:
    run = load_run(folder)
    plain, smooth = run.curve("time/step"), run.curve("time/step", smooth=2)
    assert list(plain.columns) == ["base", "sft", "grpo"]
    assert smooth["sft"][0] == plain["sft"][0] and smooth["sft"][1] == pytest.approx(plain["sft"].mean())
    with pytest.raises(InputError, match="time/step"):
        run.curve("time/stepp")
    with pytest.raises(InputError, match="smooth: is 0; give a number of steps"):
        run.curve("time/step", smooth=0)


def test_an_unfinished_run_shows_the_stages_that_it_has(folder, tmp_path) -> None:
    (tmp_path / "recipe.yaml").write_text((folder / "recipe.yaml").read_text())
    empty = load_run(tmp_path)
    assert not empty.finished and empty.routes.empty and empty.metrics.empty and empty.attempts.empty
    assert "not finished" in empty._repr_html_()
    with pytest.raises(InputError, match="no recorded answers"):
        empty.answers()
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "base").symlink_to(folder / "stages" / "base")
    assert list(load_run(tmp_path).routes.index) == ["base"]


def test_a_folder_that_is_no_run_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        load_run(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_result_is_named(folder, tmp_path, text) -> None:
    (tmp_path / "recipe.yaml").write_text((folder / "recipe.yaml").read_text())
    (tmp_path / "stages" / "base").mkdir(parents=True)
    (tmp_path / "stages" / "base" / "result.json").write_text(text)
    with pytest.raises(InputError, match="base/result.json: .*; restore it, or continue the run"):
        load_run(tmp_path).routes  # noqa: B018


def test_a_run_of_another_version_is_refused_with_the_version(folder, tmp_path) -> None:
    (tmp_path / "recipe.yaml").write_text((folder / "recipe.yaml").read_text() + "\nthen: 1\n")
    (tmp_path / "environment.json").write_text('{"rl_distill": "0.0.3"}')
    with pytest.raises(InputError, match="recipe.yaml: was written by rl_distill 0.0.3, and here then is not a known key"):
        load_run(tmp_path)
    (tmp_path / "environment.json").unlink()
    with pytest.raises(InputError, match="was written by rl_distill of an unknown version"):
        load_run(tmp_path)
