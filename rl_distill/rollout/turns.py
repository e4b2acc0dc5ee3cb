"""A conversation as turns of tokens: what was sampled stays as it was sampled, and what the template prints stands between."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rl_distill.rollout.engine import Request, Sampling
from rl_distill.text import PLACEHOLDER, encode_exchanges
from rl_distill.trajectory import Message, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What was said in a turn, its end-of-turn token included; the columns are those of a `Trajectory`."""

    text: str
    token_ids: tuple[int, ...]
    sampled: tuple[bool, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    truncated: bool = False

    @property
    def num_sampled(self) -> int:
        return sum(self.sampled)

    def closed(self, closer: int) -> "Reply":
        """Ended by the template's end-of-turn token, which was not sampled if the reply ends otherwise."""
        if self.token_ids[-1:] == (closer,):
            return self
        return replace(
            self,
            token_ids=(*self.token_ids, closer),
            sampled=(*self.sampled, False),
            logprobs=(*self.logprobs, 0.0),
            versions=(*self.versions, 0),
        )

    def overheard(self) -> "Reply":
        """The same as nobody's own: no token of it counts as sampled."""
        return _given(self.text, self.token_ids, sampled=False)

    def owned(self) -> "Reply":
        """The same with every token as if it had been sampled, as in a text that is imitated."""
        return _given(self.text, self.token_ids, sampled=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is put to the student and, once there is one, the reply.

    messages  since the reply before
    asked     their tokens, with all that the template prints since that reply's end of turn
    """

    messages: tuple[Message, ...]
    asked: tuple[int, ...]
    reply: Reply | None = None

    def answered(self, reply: Reply) -> "Turn":
        return replace(self, reply=reply)


def spoken(
    tokenizer: Any, beginning: Sequence[Message], questions: Sequence[Message], replies: Sequence[str]
) -> tuple[Turn, ...]:
    """A conversation of texts, a reply to each question; no token of it counts as sampled.

    Args:
        beginning: messages before the first question: a system turn, or none.
    """
    before = [(*(beginning if place == 0 else ()), question) for place, question in enumerate(questions)]
    said = [Message("assistant", reply) for reply in replies]
    messages = [message for asked, reply in zip(before, said, strict=True) for message in (*asked, reply)]
    return tuple(
        Turn(messages=asked, asked=exchange.asked, reply=_given(reply.content, exchange.said, sampled=False))
        for asked, reply, exchange in zip(before, said, encode_exchanges(tokenizer, messages), strict=True)
    )


def unanswered(tokenizer: Any, beginning: Sequence[Message], questions: Sequence[Message]) -> tuple[Turn, ...]:
    """The turns of a conversation in which nobody has replied yet."""
    turns = spoken(tokenizer, beginning, questions, [PLACEHOLDER] * len(questions))
    return tuple(replace(turn, reply=None) for turn in turns)


def token_ids(turns: Sequence[Turn]) -> tuple[int, ...]:
    """The stream so far."""
    return tuple(token for turn in turns for token in (*turn.asked, *(turn.reply.token_ids if turn.reply else ())))


def request(turns: Sequence[Turn], problem_id: str, sampling: Sampling, seed: int) -> Request:
    """The reply to the last turn, to be sampled."""
    return Request(problem_id=problem_id, messages=_messages(turns), token_ids=token_ids(turns), sampling=sampling, seed=seed)


def sampled_reply(asked: Request, attempt: Trajectory) -> Reply:
    """What an engine added to a request."""
    start = len(asked.token_ids)
    assert attempt.behavior_logprobs is not None and attempt.policy_versions is not None, "engines write all columns"
    return Reply(
        text=attempt.response,
        token_ids=attempt.token_ids[start:],
        sampled=attempt.sampled[start:],
        logprobs=attempt.behavior_logprobs[start:],
        versions=attempt.policy_versions[start:],
        truncated=attempt.finish_reason == "length",
    )


def with_history(attempt: Trajectory, turns: Sequence[Turn]) -> Trajectory:
    """An engine's attempt at the last turn as the whole conversation, with what was sampled in the turns before it marked so.

    Args:
        turns: the last of them without a reply.
    """
    *earlier, last = turns
    start = len(token_ids(turns))
    assert attempt.behavior_logprobs is not None and attempt.policy_versions is not None, "engines write all columns"
    blank = len(last.asked)
    return replace(
        attempt,
        sampled=(*(own for turn in earlier for own in _sampled(turn)), *(False,) * blank, *attempt.sampled[start:]),
        behavior_logprobs=(
            *(value for turn in earlier for value in _logprobs(turn)),
            *(0.0,) * blank,
            *attempt.behavior_logprobs[start:],
        ),
        policy_versions=(
            *(version for turn in earlier for version in _versions(turn)),
            *(0,) * blank,
            *attempt.policy_versions[start:],
        ),
    )


def text_trajectory(turns: Sequence[Turn], **fields: Any) -> Trajectory:
    """A finished conversation that no engine of ours sampled: tokens without log-probs."""
    return Trajectory(
        messages=_messages(turns),
        token_ids=token_ids(turns),
        sampled=tuple(own for turn in turns for own in _sampled(turn)),
        **fields,
    )


def _messages(turns: Sequence[Turn]) -> tuple[Message, ...]:
    said = [(*turn.messages, *([Message("assistant", turn.reply.text)] if turn.reply else [])) for turn in turns]
    return tuple(message for messages in said for message in messages)


def _given(text: str, ids: tuple[int, ...], *, sampled: bool) -> Reply:
    count = len(ids)
    return Reply(text=text, token_ids=ids, sampled=(sampled,) * count, logprobs=(0.0,) * count, versions=(0,) * count)


def _sampled(turn: Turn) -> tuple[bool, ...]:
    return (*(False,) * len(turn.asked), *(turn.reply.sampled if turn.reply else ()))


def _logprobs(turn: Turn) -> tuple[float, ...]:
    return (*(0.0,) * len(turn.asked), *(turn.reply.logprobs if turn.reply else ()))


def _versions(turn: Turn) -> tuple[int, ...]:
    return (*(0,) * len(turn.asked), *(turn.reply.versions if turn.reply else ()))
