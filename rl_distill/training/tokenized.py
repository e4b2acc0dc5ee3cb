"""Teacher text as the student's tokens, made when a group is first read."""

from collections.abc import Sequence
from dataclasses import replace

from rl_distill.batch import Candidates
from rl_distill.errors import InputError
from rl_distill.models.token_match import vocabulary_digest
from rl_distill.rollout.collector import Prompter
from rl_distill.text import decode, encode_conversation
from rl_distill.training.recorded_teacher import recorded_candidates
from rl_distill.trajectory import Group, Message, Problem, Trajectory

REMEMBERED_GROUPS = 10_000  # a larger data set is tokenised again in each epoch rather than held in memory


class Tokenized:
    """A data set whose trajectories have token ids.

    Args:
        field: the recipe key to name in an error.
        candidates: every attempt has a teacher's distributions recorded, and this is where they are compared; none reads none.
    """

    def __init__(self, groups: Sequence[Group], prompter: Prompter, *, field: str, candidates: Candidates | None = None) -> None:
        self.groups, self.prompter, self.field, self.candidates = groups, prompter, field, candidates
        self._vocabulary = "" if candidates is None else vocabulary_digest(prompter.tokenizer)
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
        self._check_labels(group)
        if len(self._made) < REMEMBERED_GROUPS:
            self._made[index] = group
        return group

    def _check_labels(self, group: Group) -> None:
        """Texts that differ may be the same tokens, as where the vocabulary or the template knows no white space."""
        correct = {attempt.token_ids for attempt in group.trajectories if attempt.status == "correct"}
        if any(attempt.status == "wrong" and attempt.token_ids in correct for attempt in group.trajectories):
            raise InputError(
                self.field,
                f"problem {group.problem.id!r} has a correct and a wrong attempt that are the same tokens",
                "drop one of them, or mend its label",
            )

    def _tokenized(self, problem: Problem, attempt: Trajectory) -> Trajectory:
        if self.candidates is not None:
            attempt = recorded_candidates(
                attempt, self.candidates, self._vocabulary, len(self.prompter.tokenizer), field=self.field
            )
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
        if not 0 <= min(attempt.token_ids) <= max(attempt.token_ids) < len(self.prompter.tokenizer):
            raise self._of_another_student(problem)
        last = [token for token, mine in zip(attempt.token_ids, attempt.sampled, strict=True) if mine]
        if not decode(self.prompter.tokenizer, last).endswith(attempt.response):
            raise self._of_another_student(problem)
        return attempt

    def _of_another_student(self, problem: Problem) -> InputError:
        return InputError(
            self.field,
            f"problem {problem.id!r} has recorded tokens that are not its text in the student's tokenizer",
            "record it with this student, or remove token_ids to have the text tokenised",
        )
