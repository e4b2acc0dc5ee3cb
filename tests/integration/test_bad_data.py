"""Data that would teach something else than it says ends with exit code 2 before anything is trained, and nothing is lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from refusals import refused
from tiny_runs import rolled_out, taught

from rl_distill.problems.base import dialogue, teacher_trajectory
from rl_distill.records import group_to_dict
from rl_distill.trajectory import Group, Problem, Verdict

ASKED = {"prompt": "1 + 1 = ?"}
USER = {"role": "user", "content": "1 + 1 = ?"}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def recorded(identifier: str, prompt: str = "1 + 1 = ?", **attempts: str) -> dict[str, Any]:
    """A line of a `records` file: `recorded("a", correct="2", wrong="3")`."""
    problem = Problem(id=identifier, prompt=prompt, answer="2", source="test")
    trajectories = tuple(
        teacher_trajectory(problem, dialogue(prompt, text), model="teacher", verdict=Verdict(status=status, method="dataset"))
        for status, text in attempts.items()
    )
    return group_to_dict(Group(problem=problem, trajectories=trajectories))


def written(path: Path, name: str, *rows: dict[str, Any]) -> dict[str, str]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"name": name, "path": str(path)}


def redi_on(problems: dict[str, str]) -> dict[str, Any]:
    return taught("redi", source={"name": "dataset", "problems": problems, "groups_per_step": 2})


GOOD = {"trl": ASKED | {"chosen": "2", "rejected": "3"}, "records": recorded("good", correct="2", wrong="3")}

# what a pair should not be -> its kind of file, the row, what is said about it
PAIRS = {
    "rejected null": ("trl", ASKED | {"chosen": "2", "rejected": None}, "line 2, column 'rejected': is missing or empty"),
    "rejected absent": (
        "trl",
        ASKED | {"chosen": "2"},
        "line 2, column 'rejected': is missing or empty, and a pair needs",
    ),
    "rejected empty": ("trl", ASKED | {"chosen": "2", "rejected": ""}, "line 2, column 'rejected': is missing or empty"),
    "rejected blank": ("trl", ASKED | {"chosen": "2", "rejected": " \n"}, "line 2, column 'rejected': is ' \\n'; give a"),
    "chosen null": ("trl", ASKED | {"chosen": None, "rejected": "2"}, "line 2, column 'chosen': is missing or empty"),
    "rejected without turns": ("trl", {"chosen": [USER, said("2")], "rejected": []}, "line 2, column 'rejected': is mis"),
    "rejected turn empty": (
        "trl",
        {"chosen": [USER, said("2")], "rejected": [USER, said("")]},
        "problem 'x-2' ha",
    ),
    "recorded text empty": (
        "records",
        recorded("bad", correct="2", wrong=" "),
        "problem 'bad' has an attempt",
    ),
    "one text": (
        "trl",
        ASKED | {"chosen": "2", "rejected": "2"},
        "line 2: `chosen` and `rejected` are the same; drop the",
    ),
    "one text but for its end": (
        "trl",
        ASKED | {"chosen": "2", "rejected": "2 \n"},
        "line 2: `chosen` and `rejected` are",
    ),
    "one recorded text": (
        "records",
        recorded("bad", correct="2", wrong="2\n"),
        "problem 'bad' has a correct",
    ),
    "one text in tokens": (
        "trl",
        ASKED | {"chosen": "1 + 1", "rejected": "1  +  1"},
        "problem 'x-2' has a correct and a wrong at",
    ),
}


@pytest.mark.parametrize("case", PAIRS)
def test_a_pair_that_is_none_is_refused_and_the_mended_file_trains_in_the_same_folder(case, tiny_recipe, tmp_path, cli):
    kind, row, message = PAIRS[case]
    recipe = tiny_recipe(redi_on(written(tmp_path / "x.jsonl", kind, GOOD[kind], row)))
    found = refused(cli("train", recipe.path))
    assert found.startswith("stages.redi.source") and message in found
    assert not list((recipe.run_dir / "checkpoints").glob("*/*")), "nothing was trained"
    written(tmp_path / "x.jsonl", kind, GOOD[kind])
    assert cli("train", recipe.path)[0] == 0


def test_an_unpaired_label_needs_no_counterpart(tiny_recipe, tmp_path, cli):
    rows = [ASKED | {"completion": "2", "label": True}, ASKED | {"completion": "3", "label": False}]
    problems = written(tmp_path / "x.jsonl", "trl", *rows)
    stage = taught(source={"name": "dataset", "problems": problems, "groups_per_step": 1})
    assert cli("train", tiny_recipe(stage).path)[0] == 0


def test_two_problems_with_one_id_are_refused_wherever_they_stand(tiny_recipe, tmp_path, cli):
    rows = [{"id": 7, "prompt": "1 + 1 = ?", "answer": 2}, {"id": "7", "prompt": "1 + 2 = ?", "answer": 3}]
    twice = written(tmp_path / "x.jsonl", "jsonl", *rows)
    stage = rolled_out()
    stage["source"]["problems"] = twice
    complaint = "problems 'jsonl': two problems have the id '7'; give every row an id of its own"
    assert refused(cli("train", tiny_recipe(stage).path)) == f"stages.grpo.source.problems: {complaint}"
    measured = tiny_recipe(evaluation={"problems": twice, "sampling": {"max_tokens": 8}})
    assert refused(cli("train", measured.path)) == f"evaluation: {complaint}"
    clash = written(
        tmp_path / "y.jsonl", "records", GOOD["records"], recorded("good", prompt="1 + 2 = ?", correct="3", wrong="2")
    )
    assert "two problems have the id 'good'" in refused(cli("train", tiny_recipe(redi_on(clash)).path))


def test_one_id_in_training_and_evaluation_is_no_clash(tiny_recipe, tmp_path, cli):
    problems = written(tmp_path / "x.jsonl", "jsonl", {"id": 7, "prompt": "1 + 1 = ?", "answer": 2})
    stage = rolled_out()
    stage["source"] |= {"problems": problems, "prompts_per_step": 1}
    recipe = tiny_recipe(stage, evaluation={"problems": problems, "num_samples": 1, "sampling": {"max_tokens": 8}})
    assert cli("train", recipe.path)[0] == 0


def test_several_rows_may_ask_the_same(tiny_recipe, tmp_path, cli):
    rows = [ASKED | {"chosen": "2", "rejected": wrong} for wrong in ("3", "4")]
    assert cli("train", tiny_recipe(redi_on(written(tmp_path / "x.jsonl", "trl", *rows))).path)[0] == 0


def test_groups_without_a_pair_are_passed_over_and_the_user_is_told_how_many(tiny_recipe, tmp_path, cli):
    rows = [
        GOOD["records"],
        recorded("right", correct="2"),
        recorded("wrong", wrong="3"),
        recorded("long", correct="2 " * 40, wrong="3"),
    ]
    recipe = tiny_recipe(redi_on(written(tmp_path / "x.jsonl", "records", *rows)))
    code, out, err = cli("train", recipe.path, "stages.redi.source.max_tokens=30")
    assert (code, err) == (0, "")
    counts = "redi learns from 1 of 4 groups; 2 lack an attempt that it needs, 1 are longer than the source allows"
    assert f"note: stages.redi.source.problems: {counts}\n" in out
