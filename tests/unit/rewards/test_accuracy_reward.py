"""Three-valued grading: what is right, what is wrong, and what nobody can tell."""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rl_distill.rewards import Accuracy
from rl_distill.rewards import accuracy as accuracy_module
from rl_distill.rewards.base import Attempt
from rl_distill.trajectory import Verdict

ACCURACY = Accuracy(deadline=20)
HANGING = "9^{9^{9^{9}}}"


def verdict(gold: str | None, answer: str, accuracy: Accuracy = ACCURACY) -> tuple[str, str]:
    [found] = accuracy.grade([(gold, rf"\boxed{{{answer}}}")])
    return found.status, found.method


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("4", "4", ("correct", "exact")),
        (r"\frac{1}{2}", r"\dfrac{1}{2}", ("correct", "exact")),
        ("1,000", "1000.0", ("correct", "number")),
        ("4", "5", ("wrong", "number")),
        ("0.5", "0.4", ("wrong", "number")),
        (r"50\%", r"40\%", ("wrong", "number")),
        ("50", r"50\%", ("correct", "math_verify")),
        ("1/2", "0.5", ("correct", "math_verify")),
        ("1/2", r"\frac12", ("correct", "math_verify")),
        (r"3\sqrt{2}", r"\sqrt{18}", ("correct", "math_verify")),
        (r"\{1,2\}", "2, 1", ("correct", "math_verify")),
        ("5", "x = 5", ("correct", "math_verify")),
        ("5", r"5 \text{ apples}", ("correct", "math_verify")),
        ("5", "4 or 5", ("wrong", "math_verify")),
        ("5", "5+", ("wrong", "math_verify")),
        ("5", "", ("wrong", "math_verify")),
        ("1 1/2", "11/2", ("wrong", "math_verify")),
        ("0.333", r"\frac{1}{3}", ("wrong", "math_verify")),
        ("3", "\u0663", ("correct", "exact")),
        ("\u0663", "3", ("correct", "exact")),
        ("\u0967\u0968", "\uff11\uff12.0", ("correct", "number")),
        ("3", "\uff14", ("wrong", "number")),
        ("1/2", "\uff10.\uff15", ("correct", "math_verify")),
        ("\uff11/\uff12", "0.5", ("correct", "math_verify")),
        ("52", "5\u00b2", ("wrong", "math_verify")),
        ("2", "\u00b2", ("wrong", "math_verify")),
        (None, "5", ("unverifiable", "no_gold")),
        (" ", "5", ("unverifiable", "no_gold")),
        ("???", "5", ("unverifiable", "gold_unparsable")),
        ("???", "???", ("correct", "exact")),
    ],
)
def test_first_step_that_can_tell_decides(gold: str | None, answer: str, expected: tuple[str, str]) -> None:
    assert verdict(gold, answer) == expected


def test_stray_number_without_a_box_earns_nothing(attempt: Callable[..., Attempt]) -> None:
    attempts = [
        attempt("The answer is 4."),
        attempt("The answer is 4.", finish_reason="length"),
        attempt(r"\boxed{4} is", finish_reason="length"),
    ]
    assert [(v.status, v.method) for v in ACCURACY.verdicts(attempts)] == [
        ("wrong", "no_boxed"),
        ("wrong", "truncated"),
        ("correct", "exact"),
    ]


def test_unverifiable_attempts_have_no_reward(attempt: Callable[..., Attempt]) -> None:
    attempts = [
        attempt(r"\boxed{4}"),
        attempt(r"\boxed{5}"),
        attempt(r"\boxed{4}", answer=None),
        attempt(r"\boxed{4}", answer="???"),
        attempt(r"\boxed{4}", finish_reason="error"),
    ]
    assert ACCURACY.measure(attempts) == [1.0, 0.0, None, None, None]
    assert Accuracy(wrong=-1.0).measure(attempts[:2]) == [1.0, -1.0]


def test_hanging_answer_is_unverifiable_and_is_not_remembered() -> None:
    impatient = Accuracy(deadline=1)
    assert verdict("9", HANGING, impatient) == ("unverifiable", "timeout")
    assert ("9", HANGING) not in accuracy_module._known
    assert verdict("6", r"\sqrt{36}") == ("correct", "math_verify")


def test_queue_with_hanging_answers_is_graded_to_its_end() -> None:
    pairs = [("0", rf"\boxed{{\sqrt{{{number}}}}}") for number in range(198)]
    pairs[50:50] = [("9", rf"\boxed{{{HANGING}}}")]
    pairs[150:150] = [("9", rf"\boxed{{1+{HANGING}}}")]
    found = Counter(v.status for v in Accuracy(deadline=6).grade(pairs))
    assert found == {"correct": 1, "wrong": 197, "unverifiable": 2}


@pytest.mark.parametrize("answer", ["1" * 1_000_000, "x" * 1_000_000, "{" * 500_000 + "}" * 500_000, "9^" * 5000 + "9"])
def test_giant_answer_is_wrong_without_being_parsed(answer: str) -> None:
    assert verdict("1", answer) == ("wrong", "too_long")


def test_long_gold_answer_can_be_matched() -> None:
    gold = "+".join(f"x_{{{number}}}" for number in range(300))
    assert verdict(gold, gold) == ("correct", "exact")


@pytest.mark.parametrize(
    "answer", ["{" * 400 + "1" + "}" * 400, r"\sqrt" * 190, "(" * 450 + "1" + ")" * 450, r"\frac{1}{" * 90 + "1" + "}" * 90]
)
def test_deeply_nested_answer_never_breaks_the_grader(answer: str) -> None:
    assert verdict("1", answer, Accuracy(deadline=2))[0] in ("correct", "wrong", "unverifiable")
    assert verdict("6", r"\sqrt{36}") == ("correct", "math_verify")


def test_equal_pairs_are_compared_once_and_remembered() -> None:
    accuracy_module._known.clear()
    assert len(ACCURACY.grade([("7", r"\boxed{\sqrt{49}}")] * 50)) == 50
    assert list(accuracy_module._known) == [("7", r"\sqrt{49}")]
    accuracy_module._known[("7", r"\sqrt{49}")] = Verdict(status="wrong", method="remembered")
    assert verdict("7", r"\sqrt{49}") == ("wrong", "remembered")
    accuracy_module._known.clear()


def test_memory_of_comparisons_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy_module, "MAX_KNOWN", 3)
    accuracy_module._known.clear()
    ACCURACY.grade([("0", rf"\boxed{{\sqrt{{{number}}}}}") for number in range(1, 6)])
    assert [answer for _, answer in accuracy_module._known] == [r"\sqrt{3}", r"\sqrt{4}", r"\sqrt{5}"]
    accuracy_module._known.clear()


def test_plain_integers_never_reach_the_worker_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a worker was asked")

    monkeypatch.setattr(accuracy_module, "run_all", refuse)
    found = Counter(v.status for v in ACCURACY.grade([(str(n), rf"so \boxed{{{n + n % 2}}}") for n in range(12_000)]))
    assert found == {"correct": 6000, "wrong": 6000}


def test_grading_works_outside_the_main_thread() -> None:
    found: list[tuple[str, str]] = []
    thread = threading.Thread(target=lambda: found.append(verdict("1/4", r"\frac{1}{4}")))
    thread.start()
    thread.join()
    assert found == [("correct", "math_verify")]


def test_empty_batch_is_graded() -> None:
    assert ACCURACY.grade([]) == []


def test_worker_processes_end_with_the_program() -> None:
    program = (
        "import multiprocessing as m\nfrom rl_distill.rewards import Accuracy\n"
        r"Accuracy().grade([('1/2', r'\boxed{0.5}')])" + "\nprint(*[p.pid for p in m.active_children()])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=environment, check=True
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
