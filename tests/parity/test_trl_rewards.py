"""TRL's reward functions through ours, against the code with which TRL's trainer calls them."""

import asyncio
import json
import math
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is in the trl extra")

import trl.rewards
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import get_callable_name, is_async_callable

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.problems.trl_rows import TrlRows
from rl_distill.rewards.trl_function import TrlFunction
from rl_distill.trajectory import Message, Trajectory

RESPONSES = [
    "<think>\nhalves\n</think>\nso $\\boxed{\\frac{1}{2}}$",
    "<think>\nthirds\n</think>\nso \\boxed{3}",
    "I do not know I do not know",
    "<think> \\boxed{7} and no end",
    "\\boxed{7}",
]
ROWS = [
    {"solution": "\\frac{1}{2}", "level": 1, "tags": ["fraction"]},
    {"solution": "$4$", "level": 2, "tags": []},
    {"solution": "", "level": 3, "tags": ["open"]},
    {"solution": "$7$", "level": 4, "tags": ["whole", "prime"]},
    {"solution": "$7$", "level": 5, "tags": ["whole"]},
]
IDS = [list(range(12)), [1, 1, 1, 1], [5, 6, 7, 8, 5, 6, 7, 8], [2], [3, 4, 5, 6, 7]]


def by_level(completions, level, tags, **kwargs):
    """Uses columns of the data set, and has nothing to say about some rows."""
    return [None if not tag else number / 2 for number, tag in zip(level, tags, strict=True)]


def by_prompt(prompts, completions, completion_ids, **kwargs):
    first = [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
    last = [completion if isinstance(completion, str) else completion[0]["content"] for completion in completions]
    return [len(asked) + len(said) + sum(ids) for asked, said, ids in zip(first, last, completion_ids, strict=True)]


async def later(completions, level, **kwargs):
    await asyncio.sleep(0)
    return [float(number) for number in level]


class Judge:
    async def __call__(self, completions, **kwargs):
        return [None for _ in completions]


judge = Judge()


def guarded(completions, log_extra=None, log_metric=None, **kwargs):
    """Logs where a trainer offers it."""
    if log_metric is not None:
        log_metric("mine", 1.0)
    return [1.0 for _ in completions]


OWN = [by_level, by_prompt, later, judge, guarded]
FACTORIES: dict[str, dict[str, Any]] = {
    "get_soft_overlong_punishment": {"max_completion_len": 8, "soft_punish_cache": 4},
    "get_cosine_scaled_reward": {"max_len": 8},
    "get_repetition_penalty_reward": {"ngram_size": 2, "max_penalty": -0.5},
}
FUNCTIONS = ["accuracy_reward", "reasoning_accuracy_reward", "think_format_reward"]


@pytest.fixture(scope="module")
def module() -> str:
    """These functions under an import path."""
    made = ModuleType("rewards_written_for_trl")
    for function in OWN:
        setattr(made, getattr(function, "__name__", "judge"), function)
    sys.modules[made.__name__] = made
    return made.__name__


def trl_values(function: Callable[..., Any], rows: list[dict[str, Any]], *, conversational: bool) -> list[float | None]:
    """What `GRPOTrainer` gets from a function for these rows."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    accelerator = SimpleNamespace(device="cpu", is_main_process=True)
    trainer = SimpleNamespace(
        accelerator=accelerator,
        state=SimpleNamespace(global_step=0),
        args=SimpleNamespace(report_to=[]),
        reward_funcs=[function],
        reward_processing_classes=[None],
        reward_func_names=[get_callable_name(function)],
        environments=None,
        async_loop=loop,
        _log_completion_extra=lambda *_: None,
        _log_metric=lambda *_: None,
    )
    completions = [[{"role": "assistant", "content": text}] if conversational else text for text in RESPONSES]
    try:
        found = GRPOTrainer._calculate_rewards(trainer, rows, [row["prompt"] for row in rows], completions, IDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    return [None if math.isnan(value) else value for value in found[:, 0].tolist()]


def our_values(reward: TrlFunction, rows: list[dict[str, Any]], folder: Path) -> list[float | None]:
    """The same rows as a data set of ours, and a student's responses to them."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = [group.problem for group in TrlRows(path=str(path)).groups()]
    attempts = [
        Trajectory(
            problem_id=problem.id,
            messages=(Message("user", problem.prompt), Message("assistant", text)),
            token_ids=(9, *ids),
            sampled=(False, *(True,) * len(ids)),
            model="m",
            origin="policy",
        )
        for problem, text, ids in zip(problems, RESPONSES, IDS, strict=True)
    ]
    return reward.measure(list(zip(problems, attempts, strict=True)))


def rows_of(conversational: bool) -> list[dict[str, Any]]:
    asked = [f"Question {index}?" for index in range(len(ROWS))]
    prompts = [[{"role": "user", "content": text}] if conversational else text for text in asked]
    return [{"prompt": prompt, **row} for prompt, row in zip(prompts, ROWS, strict=True)]


def check_same(path: str, arguments: dict[str, Any] | None, function: Any, folder: Path, conversational: bool = True) -> None:
    rows = rows_of(conversational)
    reward = TrlFunction(function=path, arguments=arguments, conversational=conversational)
    ours, theirs = our_values(reward, rows, folder), trl_values(function, rows, conversational=conversational)
    assert [value is None for value in ours] == [value is None for value in theirs]
    assert [value or 0.0 for value in ours] == pytest.approx([value or 0.0 for value in theirs], abs=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_trls_functions_give_what_they_give_in_trl(tmp_path, name):
    check_same(f"trl.rewards:{name}", None, getattr(trl.rewards, name), tmp_path)


@pytest.mark.parametrize("name", FACTORIES)
def test_what_trls_factories_make_gives_what_it_gives_in_trl(tmp_path, name):
    made = getattr(trl.rewards, name)(**FACTORIES[name])
    check_same(f"trl.rewards:{name}", FACTORIES[name], made, tmp_path)
    assert TrlFunction(function=f"trl.rewards:{name}", arguments=FACTORIES[name]).part == get_callable_name(made)


def test_these_are_all_reward_functions_of_trl():
    assert sorted([*FUNCTIONS, *FACTORIES]) == sorted(name for names in trl.rewards._import_structure.values() for name in names)


@pytest.mark.parametrize("conversational", [True, False])
@pytest.mark.parametrize("function", OWN, ids=get_callable_name)
def test_functions_written_for_trl_give_what_they_give_in_trl(tmp_path, module, function, conversational):
    name = getattr(function, "__name__", "judge")
    check_same(f"{module}:{name}", None, function, tmp_path, conversational)


def test_the_asynchronous_ones_are_what_trl_takes_for_such():
    assert [is_async_callable(function) for function in OWN] == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"function": "trl.rewards:get_soft_overlong_punishment"}, "takes no ..columns.*give its `arguments` if it is a factory"),
        ({"function": "trl.rewards:get_cosine_scaled_reward", "arguments": {"length": 3}}, "do not fit the factory"),
        ({"function": "trl.rewards:accuracy_reward", "arguments": {"completions": [], "solution": []}}, "which is no function"),
    ],
)
def test_a_factory_and_its_arguments_are_checked_before_the_run(tree, message):
    with pytest.raises(InputError, match=message):
        parse(TrlFunction, tree)
