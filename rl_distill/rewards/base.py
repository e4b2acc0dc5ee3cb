"""What a reward is: a configuration value that measures a batch of attempts, and never invents a number it does not have.

A verifier is the reward that also says why: its verdict on an answer is kept beside the number.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from rl_distill.config import config, setting
from rl_distill.trajectory import Context, FinishReason, Group, Problem, Trajectory, Verdict

Attempt = tuple[Problem, Trajectory]


@config
class Reward(ABC):
    """Measures attempts; an algorithm turns the measurements into credit. Concrete classes fix `name` to their table key."""

    name: str
    weight: float = setting(1.0, about="share in the weighted sum; 0 only records the reward", allow_inf_nan=False)

    @property
    def part(self) -> str:
        """The key of this reward in `Score.parts`."""
        return self.name

    @property
    def lowest(self) -> float | None:
        """The least that it can give; None where only running it tells."""
        return None

    def check_machine(self) -> None:
        """See, before a run begins, that this machine has what the reward needs.

        Raises:
            InputError: it lacks something.
        """
        return

    @abstractmethod
    def measure(self, attempts: Sequence[Attempt]) -> list[float | None]:
        """One unweighted value for each attempt, in order; None where no reward exists (it could not be determined).

        Takes a whole batch, since graders work in parallel.
        """


@config
class Verifier(Reward):
    """Judges answers: correct, wrong, or unverifiable. An unverifiable attempt has no reward (None), never 0."""

    evidence: ClassVar[str]  # what a problem must have for that, as an error calls it
    states_answers: ClassVar[bool] = False  # whether `stated_answer` tells the answers of attempts apart

    correct: float = setting(1.0, about="reward of a correct answer", source="arXiv:2501.12948", allow_inf_nan=False)
    wrong: float = setting(
        0.0, about="reward of a wrong answer; DAPO (arXiv:2503.14476) gives -1", source="arXiv:2501.12948", allow_inf_nan=False
    )

    @property
    def lowest(self) -> float:
        return min(self.correct, self.wrong)

    def measure(self, attempts: Sequence[Attempt]) -> list[float | None]:
        return [self.value(verdict) for verdict in self.verdicts(attempts)]

    def stated_answer(self, response: str) -> str | None:
        """What a response answers, in one spelling for what is plainly the same, so that answers can be counted as votes.

        None where it states none, and always where `states_answers` is False.
        """
        return None

    def value(self, verdict: Verdict) -> float | None:
        """The reward that a verdict is worth."""
        return {"correct": self.correct, "wrong": self.wrong, "unverifiable": None}[verdict.status]

    @abstractmethod
    def can_judge(self, problem: Problem) -> bool:
        """Whether the problem has what its answers would be judged by.

        Raises:
            InputError: it has, and that is malformed.
        """

    @abstractmethod
    def verdicts(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        """What is known about each attempt, in order."""


@config
class GroupReward(Reward):
    """Measures an attempt against the others of its group, when their answers have been judged."""

    @property
    def contexts(self) -> frozenset[Context]:
        """Branches of a dialogue whose answers it compares with the dialogue's own."""
        return frozenset()

    def measure(self, attempts: Sequence[Attempt]) -> list[float | None]:
        """Attempts alone have nothing to be compared with."""
        return [None] * len(attempts)

    @abstractmethod
    def compare(self, group: Group) -> list[float | None]:
        """One unweighted value for each attempt of a judged group, in order; None where no reward exists."""


def with_ending(verdict: Verdict, finish_reason: FinishReason, no_answer: str) -> Verdict:
    """The verdict in view of how sampling ended: `no_answer` is the method that found none, which a token limit explains."""
    if finish_reason == "error":
        return Verdict(status="unverifiable", method="generation_error")
    if finish_reason == "length" and verdict.method == no_answer:
        return Verdict(status="wrong", method="truncated")
    return verdict
