"""Learning from teacher data: groups of a data set."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems import AnyProblemSet
from rl_distill.training.cursor import Cursor
from rl_distill.training.tokenized import Tokenized
from rl_distill.training.work_counts import WorkCounts
from rl_distill.trajectory import Group, Trajectory


@config
class DatasetSourceConfig:
    """Teacher data: each step takes the next groups of a shuffled data set that the algorithm can learn from."""

    name: Literal["dataset"] = "dataset"
    problems: AnyProblemSet = setting(about="problems with a teacher's attempts")
    groups_per_step: int = setting(32, about="groups (a trace, or a pair) of one optimizer step", source="arXiv:2505.24850", ge=1)
    shuffle: bool = setting(True, about="new order in each epoch; false keeps the data set's order")
    max_tokens: int | None = setting(
        None, about="leave out groups with a longer attempt; none makes such a group an error", unit="tokens", ge=1
    )
    max_prompt_tokens: int | None = setting(None, about="leave out groups with a longer prompt", unit="tokens", ge=1)
    max_response_tokens: int | None = setting(
        None, about="leave out groups with a longer response: the student's turns, their ends included", unit="tokens", ge=1
    )


class DatasetSource:
    """Groups of a data set, tokenised when they are first read.

    Args:
        learnt: the attempts of a group that the algorithm learns from; groups without any are passed over and counted.
        max_context: the longest sequence of the student.
        seed: of the order.
    """

    live = False
    generated_tokens = 0
    work: WorkCounts = {}
    schedule: Sequence[Mapping[str, Any]] = ()

    def __init__(
        self,
        settings: DatasetSourceConfig,
        groups: Tokenized,
        learnt: Callable[[Group], Sequence[Trajectory]],
        max_context: int,
        seed: int,
    ) -> None:
        self.settings, self.groups, self.learnt, self.max_context = settings, groups, learnt, max_context
        self.cursor = Cursor(len(groups), seed, shuffle=settings.shuffle)
        self.left_out = 0

    def count(self) -> int:
        """How many groups the algorithm can learn from. Reads the whole data set."""
        return sum(1 for index in range(len(self.groups)) if self._take(index) is not None)

    def next(self, step: int) -> list[Group]:
        found: list[Group] = []
        passed = 0
        while len(found) < self.settings.groups_per_step:
            group = self._take(next(self.cursor))
            if group is not None:
                found.append(group)
                passed = 0
                continue
            passed += 1
            self.left_out += 1
            if passed >= 2 * len(self.groups) - 1:  # a useful group may stand first in one epoch and last in the next
                raise nothing_to_learn(self.groups.field, len(self.groups))
        return found

    def report(self) -> Mapping[str, float]:
        return {"group/left_out": float(self.left_out), "source/epoch": self.cursor.taken / len(self.groups)}

    def refresh(self, version: int) -> None:
        """Nothing to do: a data set does not depend on the student."""

    def state(self) -> dict[str, Any]:
        return {"taken": self.cursor.taken, "left_out": self.left_out}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.cursor.taken, self.left_out = state["taken"], state["left_out"]

    def _take(self, index: int) -> Group | None:
        """A group, or None where nothing is learnt from it or a limit leaves it out."""
        group = self.groups[index]
        attempts = self.learnt(group)
        if not attempts or any(map(self._too_long, attempts)):
            return None
        longest = max(len(attempt.token_ids) for attempt in attempts)
        if longest > self.max_context:
            raise InputError(
                self.groups.field,
                f"an attempt at problem {group.problem.id!r} has {longest} tokens, more than the student's context of "
                f"{self.max_context}",
                "set source.max_tokens to leave long groups out, or take a student with a longer context",
            )
        return group

    def _too_long(self, attempt: Trajectory) -> bool:
        """Whether the recipe leaves out groups with such an attempt."""
        total, response = len(attempt.token_ids), attempt.num_sampled
        limits = (
            (self.settings.max_tokens, total),
            (self.settings.max_response_tokens, response),
            (self.settings.max_prompt_tokens, total - response),
        )
        return any(limit is not None and length > limit for limit, length in limits)


def nothing_to_learn(field: str, num_groups: int) -> InputError:
    return InputError(
        f"{field}.problems",
        f"none of its {num_groups} groups has what the algorithm learns from",
        "sft needs a correct attempt, pairs need a correct and a wrong one; check max_tokens too",
    )
