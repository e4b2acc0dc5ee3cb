"""Reward functions written for TRL plug in by import path, and everything that can go wrong with one says which one it was."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from rl_distill.config import parse
from rl_distill.errors import InputError, RunError
from rl_distill.rewards.base import Attempt
from rl_distill.rewards.trl_function import TrlFunction

MODULE = """
import asyncio

seen = {}

def record(prompts, completions, completion_ids, **columns):
    seen.update(prompts=prompts, completions=completions, completion_ids=completion_ids, **columns)
    return [None] + [1] * (len(prompts) - 1)

async def later(prompts, completions, answer, **columns):
    await asyncio.sleep(0)
    return [float(text in completion[0]["content"]) for completion, text in zip(completions, answer)]

async def never(prompts, **columns):
    await asyncio.Event().wait()

class Asynchronous:
    async def __call__(self, prompts, completions, **columns):
        return [0.5 for _ in prompts]

asynchronous = Asynchronous()

def raises(**columns):
    raise KeyError("level")

def returns_short(prompts, **columns):
    return [1.0]

def returns_nothing(**columns):
    return None

def returns_text(prompts, **columns):
    return ["1.0" for _ in prompts]

def returns_nan(prompts, **columns):
    return [float("nan") for _ in prompts]

def needs_trainer(prompts, trainer_state, **columns):
    return [1.0 for _ in prompts]

constant = 3
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"reward_functions_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_trl_accuracy_reward_works_as_it_is(attempt: Callable[..., Attempt]) -> None:
    pytest.importorskip("trl")
    reward = TrlFunction(function="trl.rewards:accuracy_reward")
    attempts = [attempt(r"so $\boxed{\frac{8}{2}}$"), attempt(r"so \boxed{5}"), attempt(r"\boxed{4}", answer="")]
    assert reward.measure(attempts) == [1.0, 0.0, None]


def test_trl_think_format_reward_works_by_dotted_path(attempt: Callable[..., Attempt]) -> None:
    pytest.importorskip("trl")
    reward = TrlFunction(function="trl.rewards.think_format_reward")
    assert reward.measure([attempt("<think>\nx\n</think>\n4"), attempt("4")]) == [1.0, 0.0]


def test_function_gets_trls_arguments_in_conversational_form(functions: str, attempt: Callable[..., Attempt]) -> None:
    reward = TrlFunction(function=f"{functions}:record")
    assert reward.measure([attempt("yes", level=3), attempt("no", solution="2+2=4", prompts="mine")]) == [None, 1.0]
    seen = __import__(functions).seen
    assert seen == {
        "prompts": [[{"role": "user", "content": "What is 2 + 2?"}]] * 2,
        "completions": [[{"role": "assistant", "content": "yes"}], [{"role": "assistant", "content": "no"}]],
        "completion_ids": [[3, 4], [3, 4]],
        "answer": ["4", "4"],
        "solution": ["4", "2+2=4"],
        "level": [3, None],
    }


def test_function_gets_plain_strings_on_demand(functions: str, attempt: Callable[..., Attempt]) -> None:
    TrlFunction(function=f"{functions}:record", conversational=False).measure([attempt("yes")])
    seen = __import__(functions).seen
    assert (seen["prompts"], seen["completions"]) == (["What is 2 + 2?"], ["yes"])


def test_async_functions_are_awaited_even_where_a_loop_is_running(functions: str, attempt: Callable[..., Attempt]) -> None:
    reward = TrlFunction(function=f"{functions}:later")
    attempts = [attempt("is 4"), attempt("is 5")]

    async def in_a_notebook() -> list[float | None]:
        return reward.measure(attempts)

    assert reward.measure(attempts) == asyncio.run(in_a_notebook()) == [1.0, 0.0]
    assert TrlFunction(function=f"{functions}:asynchronous").measure(attempts) == [0.5, 0.5]


@pytest.mark.parametrize("function", ["later", "asynchronous", "record"])
def test_function_that_answers_in_time_gives_what_it_gives_without_a_deadline(
    function: str, functions: str, attempt: Callable[..., Attempt]
) -> None:
    attempts = [attempt("is 4"), attempt("is 5")]
    patient, hurried = (TrlFunction(function=f"{functions}:{function}", deadline=deadline) for deadline in (None, 60.0))
    assert patient.measure(attempts) == hurried.measure(attempts)


def test_function_that_does_not_answer_in_time_is_named(functions: str, attempt: Callable[..., Attempt]) -> None:
    with pytest.raises(RunError, match=f"'{functions}:never' has not answered for 2 attempts within 0.05 s"):
        TrlFunction(function=f"{functions}:never", deadline=0.05).measure([attempt("a"), attempt("b")])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("raises", "failed: KeyError: 'level'"),
        ("returns_short", "returned 1 rewards for 2 attempts"),
        ("returns_nothing", "failed: TypeError"),
        ("returns_text", "returned '1.0', which is no number"),
        ("returns_nan", "returned nan; return None where there is no reward"),
        ("needs_trainer", "failed: TypeError.*trainer_state"),
    ],
)
def test_misbehaving_function_is_named(function: str, message: str, functions: str, attempt: Callable[..., Attempt]) -> None:
    reward = TrlFunction(function=f"{functions}:{function}")
    with pytest.raises(RunError, match=f"reward function '{functions}:{function}' {message}"):
        reward.measure([attempt("a"), attempt("b")])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_package:f", "'no_such_package:f' cannot be imported .*ModuleNotFoundError"),
        ("json:no_such_function", "cannot be imported .*AttributeError"),
        ("function", "is no import path"),
        ("json:", "is no import path"),
        ("math:pi", "is no function"),
        ("collections:Counter", "is no function"),
    ],
)
def test_path_that_leads_nowhere_is_refused_before_the_run(path: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^function: .*{message}"):
        parse(TrlFunction, {"function": path})


def test_part_is_named_after_the_function(functions: str) -> None:
    assert TrlFunction(function=f"{functions}:record").part == "record"
    assert TrlFunction(function=f"{functions}.record").part == "record"
