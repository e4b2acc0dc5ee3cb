"""An attempt as turns, and the tokens of those turns that the model chose itself."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rl_distill.errors import InputError
from rl_distill.trajectory import Trajectory

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that the model chose; log-probs in nats, and the version of the weights that sampled it. None: not recorded."""

    id: int
    text: str
    behavior: float | None
    reference: float | None
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message. `tokens` is () where the model did not choose it, `chosen` tells both apart from a turn without tokens."""

    role: str
    text: str
    chosen: bool
    tokens: tuple[Token, ...]


def turns_of(attempt: Trajectory, decode: Decode | None = None) -> list[Turn]:
    """The messages of an attempt, each with its own tokens if the model chose it.

    A stretch of sampled tokens is an assistant turn. Where there are fewer stretches than turns, the first turns are not the
    model's own: their text was put there.

    Args:
        decode: token ids to text, special tokens included; without it turns have no tokens.

    Raises:
        InputError: there are more sampled stretches than assistant turns.
    """
    said = [place for place, message in enumerate(attempt.messages) if message.role == "assistant"]
    stretches = _stretches(attempt.sampled)
    if len(stretches) > len(said):
        problem = f"has {len(stretches)} sampled stretches in the {len(said)} turns of an attempt at {attempt.problem_id!r}"
        raise InputError("RUN", problem, "restore its trajectories/rollouts.jsonl")
    chosen = dict(zip(said[len(said) - len(stretches) :], stretches, strict=True))
    return [
        Turn(
            role=message.role,
            text=message.content,
            chosen=place in chosen,
            tokens=_tokens(attempt, chosen[place], decode) if place in chosen and decode else (),
        )
        for place, message in enumerate(attempt.messages)
    ]


def _stretches(sampled: Sequence[bool]) -> list[range]:
    """Places of each unbroken row of sampled tokens."""
    rows = (list(row) for own, row in groupby(range(len(sampled)), key=sampled.__getitem__) if own)
    return [range(row[0], row[-1] + 1) for row in rows]


def _tokens(attempt: Trajectory, places: range, decode: Decode) -> tuple[Token, ...]:
    ids = attempt.token_ids[places.start : places.stop]
    behavior, reference, versions = attempt.behavior_logprobs, attempt.reference_logprobs, attempt.policy_versions
    return tuple(
        Token(
            id=attempt.token_ids[place],
            text=text,
            behavior=None if behavior is None else behavior[place],
            reference=None if reference is None else reference[place],
            version=None if versions is None else versions[place],
        )
        for place, text in zip(places, pieces(ids, decode), strict=True)
    )


def pieces(token_ids: Sequence[int], decode: Decode) -> Iterator[str]:
    """What each token adds to the text. A letter that takes several tokens comes with its last one, or broken at the end.

    A token is read behind the letter before it, whatever length the text has: at its beginning some decoders leave out a space.
    """
    start = done = 0
    for end in range(1, len(token_ids) + 1):
        text = decode(token_ids[start:end])
        if text.endswith("\ufffd") and end < len(token_ids):
            yield ""
            continue
        yield text[len(decode(token_ids[start:done])) :] if done > start else text
        start, done = done, end
