"""What a problem set is, and the records that every set makes: problems, and a teacher's finished attempts at them."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, runtime_checkable

from rl_distill.errors import InputError
from rl_distill.trajectory import Context, FinishReason, Group, Message, Problem, Score, Status, Trajectory, Verdict


class ProblemSet(Protocol):
    """Where problems come from: a configuration value, picked by `name`."""

    @property
    def name(self) -> str: ...

    def groups(self) -> Sequence[Group]:
        """The problems in a fixed order, at least one, their ids unique and stable.

        Prompts only: groups without trajectories. Teacher data: groups whose trajectories are text (`messages`, no
        `token_ids`), to be tokenised with the student's tokenizer.

        Raises:
            InputError: the set is empty, cannot be found or cannot be read.
        """
        ...


@runtime_checkable
class ReadsData(Protocol):
    """A set whose problems are read from somewhere, so that its configuration alone does not say what they are."""

    def data_digest(self) -> str:
        """SHA-256 of what there is to read now, whatever of it the configuration selects.

        Raises:
            InputError: it cannot be found or cannot be read.
        """
        ...


def data_digests(settings: Any, key: str) -> dict[str, str]:
    """Digest of what every problem set below a configuration reads, wherever that lies."""
    if isinstance(settings, ReadsData):
        return {key: settings.data_digest()}
    below = {field.name: getattr(settings, field.name) for field in fields(settings)} if is_dataclass(settings) else {}
    if isinstance(settings, tuple):
        below = {str(getattr(member, "name", place)): member for place, member in enumerate(settings)}
    found: dict[str, str] = {}
    for name, member in below.items():
        found |= data_digests(member, f"{key}.{name}")
    return found


def checked(groups: Iterable[Group], name: str) -> list[Group]:
    """The groups as a list.

    Raises:
        InputError: there are none, two problems have the same id, or an attempt is empty or both right and wrong.
    """
    found = list(groups)
    if not found:
        raise InputError(f"problems {name!r}", "the set is empty", "check its path, its split and what it selects")
    seen: set[str] = set()
    for group in found:
        if group.problem.id in seen:
            raise InputError(
                f"problems {name!r}", f"two problems have the id {group.problem.id!r}", "give every row an id of its own"
            )
        seen.add(group.problem.id)
        _check_attempts(group, name)
    return found


def same_text(one: Sequence[Message], other: Sequence[Message]) -> bool:
    """Whether two conversations say the same, up to the white space around their turns."""
    return _stripped(one) == _stripped(other)


def teacher_trajectory(
    problem: Problem,
    messages: Sequence[Message],
    *,
    model: str,
    verdict: Verdict,
    finish_reason: FinishReason = "stop",
    context: Context = "direct",
) -> Trajectory:
    """A teacher's attempt as text. `messages` is the whole conversation; the reward is 1 for a correct attempt, else 0."""
    return Trajectory(
        problem_id=problem.id,
        messages=tuple(messages),
        model=model,
        origin="teacher",
        context=context,
        finish_reason=finish_reason,
        score=Score(value=float(verdict.status == "correct"), verdict=verdict),
    )


def dialogue(prompt: str, response: str) -> tuple[Message, Message]:
    """One question and one reply."""
    return Message("user", prompt), Message("assistant", response)


def _check_attempts(group: Group, name: str) -> None:
    """A pair of one text pulls it both ways and teaches nothing; an empty text is a missing one."""
    attempts, where = group.trajectories, f"problems {name!r}"
    if any(not attempt.token_ids and not attempt.response.strip() for attempt in attempts):
        raise InputError(where, f"problem {group.problem.id!r} has an attempt that says nothing", "give its text, or drop it")
    correct = {_stripped(attempt.messages) for attempt in attempts if attempt.status == "correct"}
    if any(attempt.status == "wrong" and _stripped(attempt.messages) in correct for attempt in attempts):
        raise InputError(
            where,
            f"problem {group.problem.id!r} has a correct and a wrong attempt with the same text",
            "drop one of them, or mend its label",
        )


def _stripped(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(Message(turn.role, turn.content.strip()) for turn in messages)


def status_of(is_correct: bool) -> Status:
    return "correct" if is_correct else "wrong"
