"""Teacher text as the student's tokens, made when a group is first read."""

from collections.abc import Sequence
from dataclasses import replace

from rl_distill.errors import InputError
from rl_distill.rollout.collector import Prompter
from rl_distill.text import encode_conversation
from rl_distill.trajectory import Group, Message, Problem, Trajectory

REMEMBERED_GROUPS = 10_000  # a larger data set is tokenised again in each epoch rather than held in memory


class Tokenized:
    """A data set whose trajectories have token ids. Item i is None where `max_tokens` leaves the group out.

    Raises (on reading):
        InputError: an attempt is longer than the student's context and `max_tokens` does not say what to do with it.
    """

    def __init__(self, groups: Sequence[Group], prompter: Prompter, *, field: str, max_tokens: int | None) -> None:
        self.groups, self.prompter, self.field, self.max_tokens = groups, prompter, field, max_tokens
        self._made: dict[int, Group | None] = {}

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Group | None:
        if index in self._made:
            return self._made[index]
        group = self._group(index)
        if len(self._made) < REMEMBERED_GROUPS:
            self._made[index] = group
        return group

    def _group(self, index: int) -> Group | None:
        group = self.groups[index]
        trajectories = tuple(self._tokenized(group.problem, trajectory) for trajectory in group.trajectories)
        longest = max((len(trajectory.token_ids) for trajectory in trajectories), default=0)
        if self.max_tokens is not None and longest > self.max_tokens:
            return None
        if longest > self.prompter.max_context:
            raise InputError(
                self.field,
                f"an attempt at problem {group.problem.id!r} has {longest} tokens, more than the student's context of "
                f"{self.prompter.max_context}",
                "set source.max_tokens to leave long groups out, or take a student with a longer context",
            )
        return replace(group, trajectories=trajectories)

    def _tokenized(self, problem: Problem, trajectory: Trajectory) -> Trajectory:
        if trajectory.token_ids:
            return trajectory
        messages = trajectory.messages
        if messages[:1] == (Message("user", problem.prompt),):
            messages = self.prompter.format.messages(problem.prompt) + messages[1:]
        token_ids, sampled = encode_conversation(self.prompter.tokenizer, messages)
        if not any(sampled):
            raise InputError(self.field, f"problem {problem.id!r} has an attempt in which no assistant speaks", "remove the row")
        return replace(trajectory, messages=messages, token_ids=token_ids, sampled=sampled)
