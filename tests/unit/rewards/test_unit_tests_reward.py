"""Programs as answers: what each kind of failure is worth, and what the keys change."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from isolation import why_not

from rl_distill.errors import InputError
from rl_distill.rewards import Accuracy, UnitTests, WeightedRewards, unit_tests
from rl_distill.trajectory import Problem, Trajectory

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

Attempt = tuple[Problem, Trajectory]

SUMS = [{"stdin": "1 2\n", "stdout": "3\n"}, {"stdin": "20 22\n", "stdout": "42\n"}]
CALLS = [{"call": "add", "arguments": [1, 2], "expected": 3}, {"call": "add", "arguments": ["a", "b"], "expected": "ab"}]
RIGHT = "print(sum(map(int, input().split())))"


def fenced(code: str) -> str:
    return f"<think>easy</think> Here it is:\n```python\n{code}\n```\n"


@pytest.mark.parametrize(
    ("tests", "code", "status", "method"),
    [
        (SUMS, RIGHT, "correct", "tests"),
        (CALLS, "def add(a, b): return a + b", "correct", "tests"),
        (SUMS, "input(); print(3)", "wrong", "output"),
        (SUMS, "pass", "wrong", "output"),
        (CALLS, "def add(a, b): return 3", "wrong", "output"),
        (CALLS, "def sum(a, b): return a + b", "wrong", "crash"),
        (SUMS, f"{RIGHT}\n1 / 0", "wrong", "crash"),
        (SUMS, "while True: print('x' * 10**6)", "wrong", "output_limit"),
        (SUMS, "while True: pass", "unverifiable", "timeout"),
        (SUMS, "x = bytearray(1 << 40)", "unverifiable", "memory"),
        ([], RIGHT, "unverifiable", "no_tests"),
    ],
)
def test_every_test_has_to_be_passed_and_what_could_not_be_told_is_unverifiable(
    tests: list[dict[str, Any]], code: str, status: str, method: str, attempt: Callable[..., Attempt]
) -> None:
    reward = UnitTests(wrong=-1.0, deadline=2.0 if method == "timeout" else 60.0)
    [verdict] = reward.verdicts([attempt(fenced(code), tests=tests)])
    assert (verdict.status, verdict.method) == (status, method), verdict
    assert reward.value(verdict) == {"correct": 1.0, "wrong": -1.0, "unverifiable": None}[status]


@pytest.mark.parametrize(
    ("response", "finish_reason", "method"),
    [
        ("I do not know", "stop", "no_code"),
        ("```python\nprint(3)", "length", "truncated"),
        (fenced(""), "stop", "no_code"),
        (fenced(RIGHT), "error", "generation_error"),
        (fenced(RIGHT), "length", "tests"),
    ],
)
def test_what_is_not_a_program_is_told_by_how_it_ended(
    response: str, finish_reason: str, method: str, attempt: Callable[..., Attempt]
) -> None:
    [verdict] = UnitTests(deadline=60.0).verdicts([attempt(response, finish_reason=finish_reason, tests=SUMS)])
    assert verdict.method == method


def test_the_first_test_that_fails_is_named(attempt: Callable[..., Attempt]) -> None:
    [verdict] = UnitTests(deadline=60.0).verdicts([attempt(fenced("input(); print(3)"), tests=SUMS)])
    assert verdict.detail == r"test 2 of 2: '3\n'"


def test_verdicts_keep_the_order_of_attempts_on_several_workers(attempt: Callable[..., Attempt]) -> None:
    codes = [
        f"import time; time.sleep({0.1 * (number % 3)}); print(sum(map(int, input().split())) + {number % 2})"
        for number in range(8)
    ]
    found = UnitTests(workers=4, deadline=60.0).verdicts([attempt(fenced(code), tests=SUMS) for code in codes])
    assert [verdict.status for verdict in found] == ["correct", "wrong"] * 4


def test_workers_run_at_the_same_time_and_no_more_of_them(
    attempt: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, running, most, lock = unit_tests.run, 0, 0, threading.Lock()

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        execution = real(*arguments, **options)
        with lock:
            running -= 1
        return execution

    monkeypatch.setattr(unit_tests, "run", counted)
    UnitTests(workers=3, deadline=60.0).verdicts([attempt(fenced("import time; time.sleep(0.2)"), tests=SUMS[:1])] * 9)
    assert most == 3


def test_memory_and_tolerance_have_an_effect(attempt: Callable[..., Attempt]) -> None:
    hungry = attempt(fenced("x = bytearray(300 << 20); print(0.5001)"), tests=[{"stdin": "", "stdout": "0.5"}])
    settings = [{"memory": 256}, {"memory": 1024}, {"memory": 1024, "tolerance": 0.01}]
    found = [UnitTests(deadline=60.0, **setting).verdicts([hungry])[0] for setting in settings]  # type: ignore[arg-type]
    assert [verdict.method for verdict in found] == ["memory", "output", "tests"]


def test_without_isolation_only_if_asked_for(attempt: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*, isolated: bool) -> None:
        if isolated:
            raise InputError("rewards.unit_tests.isolation", "is 'full'", "no")

    monkeypatch.setattr(unit_tests, "check_machine", refuse)
    forks = attempt(
        fenced("import os, subprocess; print(subprocess.run(['echo', '3'], capture_output=True, text=True).stdout)"),
        tests=SUMS[:1],
    )
    with pytest.raises(InputError, match="isolation"):
        UnitTests(deadline=60.0).verdicts([forks])
    assert UnitTests(deadline=60.0).verdicts([attempt("no code", tests=SUMS)])[0].method == "no_code"
    assert UnitTests(deadline=60.0, isolation="limits_only").verdicts([forks])[0].status == "correct"


def test_output_may_be_as_long_as_what_is_expected(attempt: Callable[..., Attempt]) -> None:
    tests = [{"stdin": "", "stdout": "é" * (2 << 20)}]
    [verdict] = UnitTests(deadline=60.0).verdicts([attempt(fenced("print('é' * (2 << 20))"), tests=tests)])
    assert verdict.status == "correct"


def test_math_and_code_can_be_mixed_and_each_problem_has_its_own_judge(attempt: Callable[..., Attempt]) -> None:
    rewards = WeightedRewards((Accuracy(), UnitTests(deadline=60.0)))
    right, wrong = fenced(RIGHT), fenced("print(0)")
    scores = rewards.score(
        [
            attempt(r"\boxed{4}"),
            attempt(right, answer=None, tests=SUMS),
            attempt(wrong, answer=None, tests=SUMS),
            attempt(right + r"\boxed{5}", tests=SUMS),  # both can judge, and one says wrong
            attempt(right, answer=None),  # nobody can
        ]
    )
    verdicts = [score.verdict for score in scores]
    assert [(verdict.status, verdict.method) for verdict in verdicts if verdict] == [
        ("correct", "exact"),
        ("correct", "tests"),
        ("wrong", "output"),
        ("wrong", "number"),
        ("unverifiable", "no_gold"),
    ]
    assert [score.value for score in scores] == [1.0, 1.0, 0.0, 1.0, None]
