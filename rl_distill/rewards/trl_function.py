"""Reward functions written for TRL, used as they are: `f(prompts, completions, **columns) -> list[float | None]`."""

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from importlib import import_module
from threading import Thread
from typing import Any, Literal, SupportsFloat

from rl_distill.config import config, setting
from rl_distill.errors import RunError
from rl_distill.rewards.base import Attempt, Reward
from rl_distill.trajectory import Message, Trajectory

_RESERVED = ("prompts", "completions", "completion_ids", "prompt", "completion")


@config
class TrlFunction(Reward):
    """Calls a function with TRL's signature (as `GRPOTrainer` of TRL 1.16 does), plain or `async`.

    It gets, by keyword and one entry for each attempt: `prompts`, `completions`, `completion_ids` (the sampled tokens), and as
    columns every key of the problems' metadata (None where a problem lacks it), `answer` and `solution` (the gold answer, unless
    the metadata has such a key). TRL's `trainer_state`, `log_extra` and `log_metric` do not exist here. As in TRL, a function
    takes the columns that it does not name through `**kwargs`, and None means that it has no reward to give.
    """

    name: Literal["trl_function"] = "trl_function"
    function: str = setting(about="import path, such as trl.rewards:think_format_reward")
    arguments: dict[str, Any] | None = setting(
        None,
        about="arguments of a factory such as trl.rewards:get_soft_overlong_punishment, which makes the function; none takes "
        "the function itself",
    )
    conversational: bool = setting(True, about="prompts and completions are lists of messages; false passes plain strings")
    deadline: float | None = setting(
        None,
        about="time for one call, after which the run stops; the function then runs outside the main thread. none waits for ever",
        unit="seconds",
        gt=0,
        le=86_400,
    )

    def __post_init__(self) -> None:
        function = self._made()
        parameters = inspect.signature(function).parameters.values()
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            raise ValueError(
                f"function {self.function!r} takes no **columns, so every call of it would fail: add them to its signature"
                + ("" if self.arguments is not None else ", or give its `arguments` if it is a factory")
            )

    @property
    def part(self) -> str:
        """The function's own name, so that several functions keep apart."""
        if self.arguments is not None:
            made = self._made()
            return str(getattr(made, "__name__", type(made).__name__))
        return self.function.replace(":", ".").rpartition(".")[2]

    def measure(self, attempts: Sequence[Attempt]) -> list[float | None]:
        """Raises: RunError if the function raises, is late, or gives anything but one finite number or None for each attempt."""
        if not attempts:
            return []
        function = self._made()
        try:
            values = list(self._answer(function, self._arguments(attempts)))
        except _Late:
            raise RunError(
                f"reward function {self.function!r} has not answered for {len(attempts)} attempts within {self.deadline:g} s; "
                "mend it, or give it a longer deadline"
            ) from None
        except (Exception, SystemExit) as error:
            raise RunError(f"reward function {self.function!r} failed: {type(error).__name__}: {error}") from error
        if len(values) != len(attempts):
            raise RunError(f"reward function {self.function!r} returned {len(values)} rewards for {len(attempts)} attempts")
        return [self._number(value) for value in values]

    def _answer(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        """What the function returns: in this thread, which one that sets signals needs, unless it has a deadline."""
        if self.deadline is None:
            return _finished(function(**arguments))
        return _in_time(lambda: _finished(function(**arguments)), self.deadline)

    def _arguments(self, attempts: Sequence[Attempt]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        for key in dict.fromkeys(key for problem, _ in attempts for key in problem.metadata if key not in _RESERVED):
            columns[key] = [problem.metadata.get(key) for problem, _ in attempts]
        for key in ("answer", "solution"):
            columns[key] = [problem.metadata.get(key, problem.answer) for problem, _ in attempts]
        if self.conversational:
            columns["prompts"] = [_turns(_before_response(trajectory)) for _, trajectory in attempts]
            columns["completions"] = [_turns([Message("assistant", trajectory.response)]) for _, trajectory in attempts]
        else:
            columns["prompts"] = [problem.prompt for problem, _ in attempts]
            columns["completions"] = [trajectory.response for _, trajectory in attempts]
        columns["completion_ids"] = [list(trajectory.response_ids) for _, trajectory in attempts]
        return columns

    def _made(self) -> Callable[..., Any]:
        """The reward function."""
        function = _imported(self.function)
        if self.arguments is None:
            return function
        try:
            made = function(**self.arguments)
        except Exception as error:  # the factory is the user's, and may fail in any way
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"arguments {self.arguments} do not fit the factory {self.function!r} ({reason})") from error
        if not callable(made):
            raise ValueError(f"function {self.function!r} made a {type(made).__name__}, which is no function: drop `arguments`")
        return made  # type: ignore[no-any-return]

    def _number(self, value: Any) -> float | None:
        if value is None:
            return None
        if not isinstance(value, SupportsFloat):
            raise RunError(f"reward function {self.function!r} returned {value!r}, which is no number")
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise RunError(f"reward function {self.function!r} returned {value!r}, which is no number") from error
        if not math.isfinite(number):
            raise RunError(f"reward function {self.function!r} returned {number}; return None where there is no reward")
        return number


def _imported(path: str) -> Callable[..., Any]:
    module_name, _, attribute = path.rpartition(":") if ":" in path else path.rpartition(".")
    if not module_name or not attribute:
        raise ValueError(f"function {path!r} is no import path: write package.module:function")
    try:
        function = getattr(import_module(module_name), attribute)
    except Exception as error:  # importing runs the user's module, which may fail in any way
        reason = f"{type(error).__name__}, {error}"
        raise ValueError(f"function {path!r} cannot be imported ({reason}): put its folder on PYTHONPATH") from error
    if not callable(function) or inspect.isclass(function):
        raise ValueError(f"function {path!r} is no function: name one f(prompts, completions, **columns)")
    if module_name.partition(".")[0] == "trl":
        from accelerate import PartialState

        PartialState()  # TRL's own functions log through accelerate, which raises before it has this
    return function  # type: ignore[no-any-return]


class _Late(Exception):
    """A call has not come back in time."""


def _finished(returned: Any) -> Any:
    """The result of an async function; it gets an event loop of its own, since a notebook's is already running."""
    return _in_time(lambda: asyncio.run(returned), None) if inspect.iscoroutine(returned) else returned


def _in_time(call: Callable[[], Any], deadline: float | None) -> Any:
    """The result of a call in a thread of its own. One that is late is left behind: the thread ends with the program."""
    answer: Future[Any] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=work, daemon=True).start()
    if not wait([answer], timeout=deadline).done:
        raise _Late
    return answer.result()


def _before_response(trajectory: Trajectory) -> Sequence[Message]:
    """The turns before the one that is graded."""
    roles = [turn.role for turn in trajectory.messages]
    last = len(roles) - 1 - roles[::-1].index("assistant") if "assistant" in roles else len(roles)
    return trajectory.messages[:last]


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [turn._asdict() for turn in messages]
