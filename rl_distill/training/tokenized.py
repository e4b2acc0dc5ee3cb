"""Teacher text as the student's tokens, made when a group is first read."""

from collections.abc import Sequence
from dataclasses import replace

from rl_distill.errors import InputError
from rl_distill.rollout.collector import Prompter
from rl_distill.text import decode, encode_conversation
from rl_distill.trajectory import Group, Message, Problem, Trajectory

REMEMBERED_GROUPS = 10_000  # a larger data set is tokenised again in each epoch rather than held in memory


class Tokenized:
    """A data set whose trajectories have token ids.

    Args:
        field: the recipe key to name in an error.
    """

    def __init__(self, groups: Sequence[Group], prompter: Prompter, *, field: str) -> None:
        self.groups, self.prompter, self.field = groups, prompter, field
        self._made: dict[int, Group] = {}

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Group:
        """
        Raises:
            InputError: an attempt cannot be put to this student.
        """
        if index in self._made:
            return self._made[index]
        group = self.groups[index]
        group = replace(group, trajectories=tuple(self._tokenized(group.problem, attempt) for attempt in group.trajectories))
        if len(self._made) < REMEMBERED_GROUPS:
            self._made[index] = group
        return group

    def _tokenized(self, problem: Problem, attempt: Trajectory) -> Trajectory:
        if attempt.token_ids:
            return self._as_sampled(problem, attempt)
        messages = self._put(problem, attempt.messages)
        token_ids, sampled = encode_conversation(self.prompter.tokenizer, messages)
        if not any(sampled):
            raise InputError(self.field, f"problem {problem.id!r} has an attempt in which no assistant speaks", "remove the row")
        return replace(attempt, messages=messages, token_ids=token_ids, sampled=sampled)

    def _put(self, problem: Problem, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The conversation with the problem worded as the recipe's prompt format has it."""
        asked = self.prompter.format.messages(problem.prompt)
        plain = (Message("user", problem.prompt),)
        if messages[:1] == plain and len(messages) == 2:
            return asked + messages[1:]
        if asked != plain:
            raise InputError(
                self.field,
                f"problem {problem.id!r} comes as a conversation of its own, which student.prompt would not be put into",
                "drop student.prompt, or give the problem as one user turn",
            )
        return messages

    def _as_sampled(self, problem: Problem, attempt: Trajectory) -> Trajectory:
        """Recorded tokens are trained on as they are, if they are this student's."""
        last = [token for token, mine in zip(attempt.token_ids, attempt.sampled, strict=True) if mine]
        if not decode(self.prompter.tokenizer, last).endswith(attempt.response):
            raise InputError(
                self.field,
                f"problem {problem.id!r} has recorded tokens that are not its text in the student's tokenizer",
                "record it with this student, or remove token_ids to have the text tokenised",
            )
        return attempt
