"""GSM8K: gold answers, human solutions and graded model solutions, on written rows and on the real files."""

import json
import os
from pathlib import Path

import pytest

from rl_distill.errors import InputError
from rl_distill.problems.gsm8k import Gsm8k, Gsm8kSolutions

needs_data = pytest.mark.skipif("RL_DISTILL_DATA" not in os.environ, reason="RL_DISTILL_DATA names no folder with the real data")

ROW = {"question": "How much?", "answer": "He sells 540*2=$<<540*2=1080>>1,080 worth.\nDone.\n#### $1,080"}
SOLUTIONS = {
    "id": "gsm8k-test-4",
    "question": "How much?",
    "ground_truth": "1+1=<<1+1=2>>2\nA: 2,000",
    "solutions": [
        {"model": "small", "text": "1+1=<<1+1=2>>2\nA: 2,000", "is_correct": True},
        {"model": "large", "text": "A: 2.5", "is_correct": False},
        {"model": "large", "text": "1+1=<<1+1=2>>2 and so on and", "is_correct": False},
    ],
}


def file_with(folder: Path, *rows: object) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_gold_answer_is_plain_and_the_solution_ends_in_its_box(tmp_path: Path) -> None:
    (group,) = Gsm8k(path=file_with(tmp_path, ROW)).groups()
    (solution,) = group.trajectories
    assert group.problem.answer == "1080" and group.problem.id == "gsm8k-train-0"
    assert solution.response == "He sells 540*2=$<<540*2=1080>>1,080 worth.\nDone.\n\\boxed{1080}"
    assert (solution.model, solution.origin, solution.status) == ("human", "teacher", "correct")
    assert [turn.role for turn in solution.messages] == ["user", "assistant"] and solution.messages[0].content == "How much?"


def test_calculator_annotations_can_be_left_out(tmp_path: Path) -> None:
    (group,) = Gsm8k(path=file_with(tmp_path, ROW), calculator=False).groups()
    assert group.trajectories[0].response == "He sells 540*2=$1,080 worth.\nDone.\n\\boxed{1080}"


def test_a_row_without_a_gold_answer_is_an_input_error_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2.*#### gold"):
        Gsm8k(path=file_with(tmp_path, ROW, {"question": "?", "answer": "no end"})).groups()


def test_an_empty_set_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'gsm8k': the set is empty"):
        Gsm8k(path=file_with(tmp_path)).groups()


def test_model_solutions_keep_their_grades_and_say_when_they_broke_off(tmp_path: Path) -> None:
    (group,) = Gsm8kSolutions(path=file_with(tmp_path, SOLUTIONS)).groups()
    assert group.problem.answer == "2000"
    assert [solution.response for solution in group.trajectories] == [
        "1+1=<<1+1=2>>2\n\\boxed{2000}",
        "\\boxed{2.5}",
        "1+1=<<1+1=2>>2 and so on and",
    ]
    assert [solution.status for solution in group.trajectories] == ["correct", "wrong", "wrong"]
    assert [solution.finish_reason for solution in group.trajectories] == ["stop", "stop", "length"]
    assert [solution.model for solution in group.trajectories] == ["small", "large", "large"]


def test_the_file_as_it_is_published_holds_the_same_solutions(tmp_path: Path) -> None:
    graded = {"small": "6b_finetuning", "large": "175b_verification"}
    columns = {
        graded[one["model"]]: {"solution": one["text"], "is_correct": one["is_correct"]} for one in SOLUTIONS["solutions"][:2]
    }
    published = {"question": "How much?", "ground_truth": SOLUTIONS["ground_truth"], **columns}
    _, group = Gsm8kSolutions(path=file_with(tmp_path, published, published)).groups()
    (expected,) = Gsm8kSolutions(path=file_with(tmp_path, {**SOLUTIONS, "id": "gsm8k-test-1"})).groups()
    assert group.problem == expected.problem
    assert [solution.messages for solution in group.trajectories] == [solution.messages for solution in expected.trajectories[:2]]
    assert [(solution.model, solution.status) for solution in group.trajectories] == [
        ("6b_finetuning", "correct"),
        ("175b_verification", "wrong"),
    ]


def test_a_grade_that_is_not_true_or_false_is_an_input_error(tmp_path: Path) -> None:
    row = {**SOLUTIONS, "solutions": [{"model": "m", "text": "A: 2", "is_correct": "yes"}]}
    with pytest.raises(InputError, match="line 1, solution 1.*is_correct"):
        Gsm8kSolutions(path=file_with(tmp_path, row)).groups()


@needs_data
@pytest.mark.parametrize(("split", "size"), [("train", 7473), ("test", 1319)])
def test_every_real_problem_has_a_number_as_gold_answer(split: str, size: int) -> None:
    groups = Gsm8k(split=split).groups()
    assert len(groups) == size
    for group in groups:
        assert float(group.problem.answer) == int(group.problem.answer)
        assert group.trajectories[0].response.endswith(f"\n\\boxed{{{group.problem.answer}}}")


@needs_data
def test_the_parts_of_the_real_solutions_are_disjoint_and_complete() -> None:
    ids = {part: {group.problem.id for group in Gsm8kSolutions(part=part).groups()} for part in ("train", "heldout", "all")}
    assert len(ids["all"]) == 900 and ids["train"] | ids["heldout"] == ids["all"] and not ids["train"] & ids["heldout"]
    assert 0.15 < len(ids["heldout"]) / 900 < 0.25


@needs_data
def test_real_grades_agree_with_the_boxes_and_give_503_pairs() -> None:
    groups = Gsm8kSolutions().groups()
    for group in groups:
        for solution in group.trajectories:
            boxed = solution.response.endswith(f"\\boxed{{{group.problem.answer}}}")
            assert boxed == (solution.status == "correct")
    assert sum({"correct", "wrong"} == {solution.status for solution in group.trajectories} for group in groups) == 503
    assert sum(solution.finish_reason == "length" for group in groups for solution in group.trajectories) == 9


@needs_data
def test_real_solutions_share_ids_and_texts_with_the_test_split() -> None:
    prompts = {group.problem.id: group.problem.prompt for group in Gsm8k(split="test").groups()}
    assert all(prompts[group.problem.id] == group.problem.prompt for group in Gsm8kSolutions().groups())
