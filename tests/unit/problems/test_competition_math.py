"""MATH: both layouts of the training split, MATH-500, and the real files."""

import json
import os
from pathlib import Path

import pytest

from rl_distill.errors import InputError
from rl_distill.problems.competition_math import Math

needs_data = pytest.mark.skipif("RL_DISTILL_DATA" not in os.environ, reason="RL_DISTILL_DATA names no folder with the real data")


def file_with(folder: Path, *rows: object) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_both_layouts_of_the_training_split_give_the_same_problem(tmp_path: Path) -> None:
    local = {"problem": "1/2?", "answer": "\\frac{1}{2}", "difficulty": 3.0, "type": "Algebra"}
    hub = {
        "problem": "1/2?",
        "level": "Level 3",
        "type": "Algebra",
        "solution": "First \\boxed{0}, then $\\boxed{\\frac{1}{2}}$.",
    }
    first, second = (Math(path=file_with(tmp_path, row)).groups() for row in (local, hub))
    assert first == second
    assert first[0].problem.answer == "\\frac{1}{2}"
    assert first[0].problem.metadata == {"difficulty": 3.0, "subject": "Algebra"}


def test_a_problem_whose_solution_has_no_closed_box_is_left_out(tmp_path: Path) -> None:
    row = {"problem": "?", "level": "Level ?", "type": "Algebra"}
    solutions = ["none", "\\boxed{\\frac{1}{2}", "so \\boxed{\\frac{1}{2}}"]
    rows = [{**row, "problem": str(number), "solution": solution} for number, solution in enumerate(solutions)]
    assert [group.problem.answer for group in Math(path=file_with(tmp_path, *rows)).groups()] == ["\\frac{1}{2}"]


def test_an_unknown_difficulty_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: difficulty is 'hard'"):
        Math(path=file_with(tmp_path, {"problem": "?", "answer": "1", "level": "hard", "type": "Algebra"})).groups()


def test_the_same_problem_twice_is_an_input_error(tmp_path: Path) -> None:
    row = {"problem": "?", "answer": "1", "difficulty": 1, "type": "Algebra"}
    with pytest.raises(InputError, match="two problems have the id"):
        Math(path=file_with(tmp_path, row, row)).groups()


@needs_data
def test_the_real_training_split_has_gold_answers_without_its_four_rows_that_lack_one() -> None:
    groups = Math().groups()
    assert len(groups) == 7470 and all(group.problem.answer for group in groups)
    assert {group.problem.metadata["difficulty"] for group in groups} <= {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}
    assert all(group.trajectories == () for group in groups)


@needs_data
def test_the_real_test_split_is_math_500_and_shares_no_problem_with_training() -> None:
    test = {group.problem.prompt.strip() for group in Math(split="test").groups()}
    assert len(test) == 500
    assert not test & {group.problem.prompt.strip() for group in Math().groups()}


@needs_data
def test_the_first_problems_of_a_real_set_can_be_taken_alone() -> None:
    assert list(Math(num_problems=5).groups()) == list(Math().groups()[:5])
