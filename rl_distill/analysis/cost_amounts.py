"""Amounts of what was spent, of a stage, a route and a run. None is not known, and no sum makes a number of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rl_distill.analysis.teacher_bills import Bill


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Amounts that add up over stages; None: not known.

    sampled_tokens      drawn from the student
    prompts             prefilled for that, each once for all attempts that share it, and `prompt_tokens` in them
    trained_tokens      with loss, each time they are trained on
    teacher_tokens      prompts and completions, of those who taught before the run
    teacher_read_tokens rows that a teacher of the run read
    flops               in the run by phase: sampling, scoring (by a reference and by the student itself), training, and teacher
    billed_flops        of those who taught before the run
    seconds             by phase; `wall` is all of them
    device_seconds      wall seconds times the devices that the run held
    money               of the teacher's bill, and of devices where their price is given
    evaluation          tokens, flops and seconds of all evaluations: measuring is not learning, and is in no other amount
    """

    sampled_tokens: float | None
    prompts: float | None
    prompt_tokens: float | None
    trained_tokens: float | None
    teacher_tokens: float | None
    teacher_read_tokens: float | None
    flops: Mapping[str, float | None]
    billed_flops: float | None
    seconds: Mapping[str, float | None]
    device_seconds: float | None
    money: float | None
    evaluation: Mapping[str, float | None]

    @property
    def student_flops(self) -> float | None:
        return total(amount for phase, amount in self.flops.items() if phase != "teacher")

    @property
    def teacher_flops(self) -> float | None:
        """Of both kinds of teachers."""
        return total([self.flops["teacher"], self.billed_flops])

    @property
    def all_flops(self) -> float | None:
        """Of teacher and student."""
        return total([self.student_flops, self.teacher_flops])


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """`notes` say why something is not known."""

    name: str
    cost: Cost
    bills: tuple[Bill, ...] | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteCost:
    """A student, and what all stages on its way from base cost together; the row of base is what making base cost.

    accuracy, low, high  held-out accuracy with its interval; None where the run measured nothing
    """

    name: str
    stages: tuple[str, ...]
    cost: Cost
    accuracy: float | None
    low: float | None
    high: float | None


class Question(NamedTuple):
    prompt: str
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCosts:
    """
    bill        all stages once, base included if the run made it
    base_made   whether it did, or took a student that others had trained
    base        what the recipe says of that student: runs that say the same begin at the same point
    problems    that its students were measured on: what was asked and what is right, by id; None where the answers are not kept
    unfinished  stages that are not in the bill
    """

    path: Path
    name: str
    seed: int
    devices: int
    stages: Mapping[str, StageCost]
    routes: tuple[RouteCost, ...]
    bill: Cost
    base_made: bool
    base: str
    problems: Mapping[str, Question | None]
    unfinished: tuple[str, ...] = field(default=())


def total(amounts: Iterable[float | None]) -> float | None:
    """Their sum; None if one of them is not known."""
    added = 0.0
    for amount in amounts:
        if amount is None:
            return None
        added += amount
    return added
