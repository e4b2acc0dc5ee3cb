"""`rl-distill dialogues`, on recorded runs; and what a run records about credit."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import RecipeFile, rolled_out
from told_dialogues import credits, dialogue_group

from rl_distill.analysis.dialogue_record import tokenizer_of
from rl_distill.analysis.dialogue_turns import pieces
from rl_distill.models.loading import load_tokenizer
from rl_distill.records import group_to_dict

Cli = Callable[..., tuple[int, str, str]]
PAID = {"name": "exgrpo", "coherence": "paired", "delta": 0.2, "nu": 1.25, "margin": 0.0}


def recorded_run(folder: Path, steps: Sequence[tuple[str, int]]) -> Path:
    """A run's folder with the dialogues of these steps."""
    group = dialogue_group()
    names = dict.fromkeys(stage for stage, _ in steps)
    (folder / "trajectories").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"stages": [{"name": name, "algorithm": PAID} for name in names]}))
    rows = [{"stage": stage, "step": step, **group_to_dict(group), "advantages": credits(group)} for stage, step in steps]
    (folder / "trajectories" / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return recorded_run(tmp_path / "run", [("warm", 0), ("long", 0), ("long", 0), ("long", 10)])


def shown(path: Path) -> tuple[str, str, int]:
    """Stage, step and number of dialogues that a page shows."""
    found = re.search(r"Stage <b>(\w+)</b>, step <b>(\d+)</b>: (\d+) dialogues", path.read_text())
    assert found
    return found[1], found[2], int(found[3])


def test_the_page_lies_in_the_runs_folder_and_shows_the_last_step_that_was_recorded(run: Path, cli: Cli) -> None:
    assert cli("dialogues", run) == (0, f"{run / 'dialogues.html'}\n", "")
    assert shown(run / "dialogues.html") == ("long", "10", 2)


def test_another_stage_or_step_and_another_place_can_be_asked_for(run: Path, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert cli("dialogues", run, "--step", 0, "--out", out)[0] == 0
    assert shown(out) == ("long", "0", 4)
    assert cli("dialogues", run, "--stage", "warm", "--out", out)[0] == 0
    assert shown(out) == ("warm", "0", 2)


REFUSED = {
    "no such run": (["nowhere"], "error: RUN: 'nowhere' holds no run"),
    "no such stage": (["RUN", "--stage", "sft"], "error: --stage: 'sft' has recorded no dialogues; give 'warm' or 'long'"),
    "no such step": (["RUN", "--step", "7"], "error: --step: is 7, and stage 'long' recorded dialogues in steps 0, 10"),
    "no such place": (["RUN", "--out", "nowhere/page.html"], "error: --out: 'nowhere/page.html' cannot be written"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_there_is_refused_in_one_line(case: str, run: Path, cli: Cli) -> None:
    arguments, expected = REFUSED[case]
    code, out, err = cli("dialogues", *(run if text == "RUN" else text for text in arguments))
    assert (code, out) == (2, "") and err.startswith(expected) and err.count("\n") == 1
    assert not (run / "dialogues.html").exists()


@pytest.mark.parametrize("damage", ['"advantages": [', '{"dialogue": 1,'], ids=["credit lost", "no JSON"])
def test_a_damaged_record_is_refused_in_one_line(damage: str, run: Path, cli: Cli) -> None:
    rollouts = run / "trajectories" / "rollouts.jsonl"
    whole = rollouts.read_text()
    rollouts.write_text(
        whole.replace('"advantages": [', '"advantages": [0.0, ') if "adv" in damage else f'{whole}{{"dialogue": 1,\n'
    )
    code, _, err = cli("dialogues", run)
    assert code == 2 and "rollouts.jsonl" in err and err.count("\n") == 1


def test_a_line_that_a_run_at_work_has_not_finished_is_left_out(run: Path, cli: Cli) -> None:
    rollouts = run / "trajectories" / "rollouts.jsonl"
    with rollouts.open("a") as file:
        file.write(rollouts.read_text().splitlines()[-1].replace('"step": 10', '"step": 20')[:-30])
    assert cli("dialogues", run)[0] == 0
    assert shown(run / "dialogues.html") == ("long", "10", 2)


def rollouts(recipe: RecipeFile) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (recipe.run_dir / "trajectories" / "rollouts.jsonl").read_text().splitlines()]


def test_a_run_records_each_attempts_credit_and_one_without_dialogues_gets_no_page(
    tiny_recipe: Callable[..., RecipeFile], cli: Cli
) -> None:
    algorithm = {"name": "grpo", "kl_coef": 0.0, "advantage": "group_center", "mask_truncated": True}
    recipe = tiny_recipe(rolled_out(algorithm=algorithm))
    code, out, err = cli("train", recipe.path)
    assert code == 0 and "dialogues" not in out, err
    for row in rollouts(recipe):
        rewards = [attempt["score"]["value"] for attempt in row["trajectories"]]
        mean = sum(rewards) / len(rewards)
        cut = [attempt["finish_reason"] == "length" for attempt in row["trajectories"]]
        expected = [None if lost else pytest.approx(reward - mean) for reward, lost in zip(rewards, cut, strict=True)]
        assert row["advantages"] == expected
    assert not (recipe.run_dir / "dialogues.html").exists()
    code, _, err = cli("dialogues", recipe.run_dir)
    assert code == 2 and "has recorded no dialogues" in err and err.count("\n") == 1


def test_the_runs_own_tokenizer_shows_its_tokens_special_ones_included(tiny_recipe: Callable[..., RecipeFile], cli: Cli) -> None:
    recipe = tiny_recipe(rolled_out())
    assert cli("train", recipe.path)[0] == 0
    decode, tokenizer = tokenizer_of(recipe.run_dir), load_tokenizer(str(recipe.run_dir / "final"))
    assert decode is not None
    for row in rollouts(recipe):
        for attempt in row["trajectories"]:
            ids = attempt["token_ids"]
            assert decode(ids) == tokenizer.decode(ids) and "".join(pieces(ids, decode)) == decode(ids)
    shutil.rmtree(recipe.run_dir / "final")
    shutil.rmtree(recipe.run_dir / "stages")
    assert tokenizer_of(recipe.run_dir) is None


def test_what_credit_was_measured_with_is_recorded_beside_it(tiny_recipe: Callable[..., RecipeFile], cli: Cli) -> None:
    recipe = tiny_recipe(rolled_out(algorithm={"name": "rloo", "kl_coef": 0.05}))
    assert cli("train", recipe.path)[0] == 0
    for row in rollouts(recipe):
        assert all(len(attempt["reference_logprobs"]) == len(attempt["token_ids"]) for attempt in row["trajectories"])
