"""APPS and TACO: their tests become what `unit_tests` runs, whichever way a row writes them."""

import json

import pytest
from isolation import why_not

from rl_distill.errors import InputError
from rl_distill.problems.base import dialogue
from rl_distill.problems.code_contests import CodeContests
from rl_distill.rewards.unit_tests import UnitTests
from rl_distill.trajectory import Trajectory


@pytest.fixture
def rows(tmp_path):
    """Writes rows; their path."""

    def write(*found):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in found))
        return str(path)

    return write


def contest(held, **changes):
    row = {"question": "Add two numbers.", "input_output": json.dumps(held), "difficulty": "MEDIUM", "starter_code": ""}
    return row | changes


def problems(path, **settings):
    return [group.problem for group in CodeContests(collection="taco", path=path, **settings).groups()]


def test_input_and_output_are_texts_or_lines(rows):
    (problem,) = problems(rows(contest({"inputs": ["1 2\n", ["3", "4"]], "outputs": ["3\n", ["7"]]})))
    assert problem.metadata["tests"] == [{"stdin": "1 2\n", "stdout": "3\n"}, {"stdin": "3\n4", "stdout": "7"}]
    assert problem.prompt.endswith("print to standard output.") and problem.answer is None


def test_a_functions_output_is_taken_out_of_its_list_and_its_name_is_asked_for(rows):
    held = {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [[3], 7]}
    (problem,) = problems(rows(contest(held, starter_code="def add(a, b):")))
    assert problem.metadata["tests"] == [
        {"call": "add", "arguments": [1, 2], "expected": 3},
        {"call": "add", "arguments": [3, 4], "expected": 7},
    ]
    assert "`add`" in problem.prompt and "def add(a, b):" in problem.prompt


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_what_a_row_says_is_run(rows):
    (problem,) = problems(rows(contest({"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]})))
    answers = ["```python\ndef add(a, b):\n    return a + b\n```", "```python\ndef add(a, b):\n    return a\n```"]
    attempts = [
        (problem, Trajectory(problem_id=problem.id, messages=dialogue("?", text), model="m", origin="teacher"))
        for text in answers
    ]
    assert [verdict.status for verdict in UnitTests().verdicts(attempts)] == ["correct", "wrong"]


def test_rows_of_another_difficulty_and_rows_without_tests_are_left_out(rows):
    held = {"inputs": ["1"] * 30, "outputs": ["1"] * 30}
    path = rows(contest(held), contest(held, difficulty="EASY"), contest({}), contest(held, input_output=""))
    assert [problem.id for problem in problems(path, difficulties=("MEDIUM",))] == ["taco-train-1"]
    assert len(problems(path, max_tests=4)[0].metadata["tests"]) == 4


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (contest({"inputs": ["1"], "outputs": []}), "1 inputs and 0 outputs"),
        (contest({}, input_output="{"), "is no JSON"),
        (contest({}, input_output="[1]"), "is no object"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(row, message, rows):
    with pytest.raises(InputError, match=message):
        problems(rows(row))
