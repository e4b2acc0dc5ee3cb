"""What counts as the expected output or value, and what counts as a test."""

from typing import Any

import pytest

from rl_distill.errors import InputError
from rl_distill.rewards.code_tests import CallTest, PrintTest, problem_tests
from rl_distill.trajectory import Problem


@pytest.mark.parametrize(
    ("wanted", "printed", "same"),
    [
        ("1 2\n3\n", "1 2\n3\n", True),
        ("1 2\n3\n", "  1  2 \n3\n\n", True),
        ("1 2\n3\n", "1 2 3\n", False),
        ("1\n2\n", "1\n\n2\n", False),
        ("", "\n", True),
        ("", "0", False),
        ("Yes", "yes", False),
        ("10000000", "10000001", False),  # whole numbers have no tolerance
        ("1", "1.0", False),
        ("0.5", ".5", True),
        ("0.5", "5e-1", True),
        ("0.3333333", "0.33333333333", True),
        ("0.3333333", "0.3334", False),
        ("1000000.0", "1000000.5", True),
        ("x 1.50", "x 1.5", True),
        ("1.5", "nan", False),
        ("1.5", "inf", False),
        ("1.5", "9" * 100_000, False),
        ("1.5", "1e999999", False),
        ("nothing.", "nothing", False),
    ],
)
def test_printed_text_is_compared_line_by_line(wanted: str, printed: str, same: bool) -> None:
    assert PrintTest("", wanted).passed(printed, 1e-6) is same


@pytest.mark.parametrize(
    ("wanted", "returned", "same"),
    [
        (3, "3", True),
        (3, "3.0", True),
        (3, '"3"', False),
        (3, "true", False),
        (1, "true", False),
        (True, "1", False),
        (True, "true", True),
        (None, "null", True),
        (None, "", False),
        (None, "0", False),
        (0.5, "0.5000000001", True),
        (0.5, "0.51", False),
        (0.5, "NaN", False),
        (0.5, "1" + "0" * 400, False),
        (10**30, str(10**30 + 1), False),
        ([1, [2]], "[1, [2]]", True),
        ((1, 2), "[1, 2]", True),
        ([1, 2], "[1, 2, 3]", False),
        ([], "{}", False),
        ({"a": 1.0, "b": []}, '{"b": [], "a": 1}', True),
        ({"a": 1}, '{"a": 1, "b": 2}', False),
        ("x", '"x"', True),
        ("x", "x", False),
        ([], "[" * 100_000, False),
        ([], "[] []", False),
    ],
)
def test_returned_values_are_compared_as_plain_json(wanted: Any, returned: str, same: bool) -> None:
    assert CallTest("f", [], wanted).passed(returned, 1e-6) is same


def _problem(tests: Any) -> Problem:
    return Problem(id="p7", prompt="?", answer=None, source="test", metadata={"tests": tests})


def test_tests_come_from_the_problems_metadata_in_order() -> None:
    tests = [{"stdin": "1", "stdout": "2"}, {"call": "f", "arguments": [1], "expected": None}]
    assert problem_tests(_problem(tests)) == [PrintTest("1", "2"), CallTest("f", [1], None)]
    assert problem_tests(Problem(id="p", prompt="?", answer=None, source="test")) == []
    assert problem_tests(_problem([])) == []


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ("1 -> 2", "has tests of type str"),
        ([{"stdin": "1"}], r"tests\[0\]: is \{'stdin': '1'\}, which is no test"),
        ([{"stdin": "1", "stdout": 2}], "which is no test"),
        ([{"stdin": "1", "stdout": "2", "points": 3}], "which is no test"),
        ([{"stdin": "", "stdout": ""}, {"call": "f", "arguments": 1, "expected": 1}], r"tests\[1\]"),
        ([{"call": "f", "arguments": [{1}], "expected": 1}], "JSON"),
        ([{"call": "f", "arguments": [], "expected": float("nan")}], "JSON"),
    ],
)
def test_a_malformed_test_is_the_users_mistake_by_problem_and_place(tests: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"problem 'p7'.*{message}"):
        problem_tests(_problem(tests))
