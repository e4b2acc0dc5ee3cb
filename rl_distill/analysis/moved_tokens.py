"""Which tokens' log-probs moved between two checkpoints on the same traces. Loads torch, so it is imported late."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from rl_distill.analysis.samples import Recorded
from rl_distill.analysis.token_classes import Matcher
from rl_distill.analysis.words import words
from rl_distill.errors import InputError
from rl_distill.evaluation.subject import find_subject
from rl_distill.models.loading import context_of, load_model, load_tokenizer
from rl_distill.models.logprobs import policy_output
from rl_distill.models.token_match import check_scoring_model
from rl_distill.models.token_pieces import token_pieces
from rl_distill.text import encode_conversation

BATCH_TOKENS = 8192  # padding included, in one forward pass
NO_CLASS = ""


class Trace(NamedTuple):
    """A response as tokens: what the models are asked about."""

    response: Recorded
    token_ids: tuple[int, ...]
    wanted: tuple[bool, ...]


class MovedToken(NamedTuple):
    """A token of a response and how its log-prob moved.

    word   that it is a part of, or its own text where it is in none
    begins whether it is the first token of that word
    label  of its class of words; "" for none
    place  within the response's tokens, from 0 to 1
    change log-prob under the second checkpoint minus under the first, in nats
    """

    word: str
    begins: bool
    label: str
    place: float
    change: float


@dataclass(frozen=True)
class Moved:
    """All traces with their tokens, and what was left out or encoded anew.

    too_long   traces beyond a model's context
    reencoded  traces of which only the text was recorded
    """

    traces: Sequence[tuple[Recorded, Sequence[MovedToken]]]
    too_long: int
    reencoded: int


def moved_tokens(responses: Sequence[Recorded], first: str, second: str, matcher: Matcher) -> Moved:
    """Compare two checkpoints on recorded responses.

    Args:
        first, second: as `find_subject` takes them: folders, hub names, a run (its final student) or RUN:STAGE.

    Raises:
        InputError: a model is not there, the vocabularies differ, or responses were recorded without what they answer.
    """
    places = [str(find_subject(name, field="--moved").folder) for name in (first, second)]
    tokenizer = load_tokenizer(places[0], field="--moved")
    check_scoring_model(tokenizer, places[1], field="--moved")
    traces = [_trace(response, tokenizer) for response in responses]
    models = [load_model(place, field="--moved").eval() for place in places]
    context = min(context_of(model.config) for model in models)
    fitting = [trace for trace in traces if len(trace.token_ids) <= context]
    before, after = (_logprobs(model, fitting, pad=tokenizer.pad_token_id) for model in models)
    pieces = token_pieces(tokenizer)
    names = tokenizer.convert_ids_to_tokens(list(range(len(pieces))))
    return Moved(
        [
            (trace.response, _tokens(trace, [b - a for a, b in zip(*both, strict=True)], pieces, names, matcher))
            for trace, *both in zip(fitting, before, after, strict=True)
        ],
        too_long=len(traces) - len(fitting),
        reencoded=sum(not trace.response.token_ids for trace in fitting),
    )


def _trace(response: Recorded, tokenizer: Any) -> Trace:
    if response.token_ids:
        return Trace(response, response.token_ids, (False, *response.sampled[1:]))
    if not response.messages:
        problem = f"the response to {response.problem_id!r} was recorded without the conversation that it ends"
        raise InputError("--moved", problem, "give groups, or the stage of a run as RUN:STAGE")
    token_ids, sampled = encode_conversation(tokenizer, response.messages)
    end = len(token_ids) - (not response.finished)  # one that was cut off did not end its turn
    return Trace(response, token_ids[:end], sampled[:end])


@torch.inference_mode()
def _logprobs(model: Any, traces: Sequence[Trace], *, pad: int) -> list[list[float]]:
    """Of the wanted tokens of each trace, in nats at temperature 1."""
    found: list[list[float]] = [[]] * len(traces)
    for batch in _batches(traces):
        width = max(len(traces[index].token_ids) for index in batch)
        token_ids = torch.full((len(batch), width), pad)
        attention = torch.zeros((len(batch), width), dtype=torch.bool)
        wanted = torch.zeros((len(batch), width), dtype=torch.bool)
        for row, index in enumerate(batch):
            size = len(traces[index].token_ids)
            token_ids[row, :size] = torch.tensor(traces[index].token_ids)
            attention[row, :size] = True
            wanted[row, :size] = torch.tensor(traces[index].wanted)
        logprobs = policy_output(model, token_ids, attention, wanted).logprobs
        for row, index in enumerate(batch):
            found[index] = logprobs[row][wanted[row]].tolist()
    return found


def _batches(traces: Sequence[Trace]) -> Iterator[list[int]]:
    """Indices of traces of like length, so many that they fit a forward pass."""
    order = sorted(range(len(traces)), key=lambda index: len(traces[index].token_ids))
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * len(traces[index].token_ids) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _tokens(
    trace: Trace, changes: Sequence[float], pieces: Sequence[bytes | None], names: Sequence[str], matcher: Matcher
) -> list[MovedToken]:
    """The wanted tokens in order, each with the word of the text that it is in."""
    ids = [token for token, asked in zip(trace.token_ids, trace.wanted, strict=True) if asked]
    text, spans = _spelled(ids, pieces)
    word_at = _owners(((word.start, word.end, word.text) for word in words(text)), len(text))
    label_at = _owners(((match.start, match.end, match.label) for match in matcher.find(text)), len(text))
    found = []
    for place, (token, change, (start, end)) in enumerate(zip(ids, changes, spans, strict=True)):
        inner = next((at for at in range(start, end) if not text[at].isspace()), None)
        owner = None if inner is None else word_at[inner]
        word = owner[1] if owner else text[start:end].strip() or (names[token] if pieces[token] is None else "(white space)")
        label = label_at[inner] if inner is not None else None
        begins = owner is None or owner[0] >= start
        found.append(MovedToken(word, begins, label[1] if label else NO_CLASS, place / len(ids), change))
    return found


def _spelled(ids: Sequence[int], pieces: Sequence[bytes | None]) -> tuple[str, list[tuple[int, int]]]:
    """The text of tokens and the characters that each adds; special tokens add a space, so that they part words."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    parts, spans, length = [], [], 0
    for token in ids:
        piece = pieces[token] if token < len(pieces) else None
        part = " " if piece is None else decoder.decode(piece)
        parts.append(part)
        spans.append((length, length + len(part)))
        length += len(part)
    return "".join(parts), spans


def _owners(spans: Iterator[tuple[int, int, str]], length: int) -> list[tuple[int, str] | None]:
    """For each character the span that covers it, as (start, name)."""
    found: list[tuple[int, str] | None] = [None] * length
    for start, end, name in spans:
        found[start:end] = [(start, name)] * (end - start)
    return found
