"""What a judge quoted, held against the text: quotes that are not in it are dropped and counted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from rl_distill.analysis.words import words

MAX_QUOTE_WORDS = 12


class Span(NamedTuple):
    """A place in a response, characters [start, end), where a behavior shows."""

    behavior: str
    start: int
    end: int


def verified_spans(quoted: Iterable[Mapping[str, str]], text: str, part: tuple[int, int], dropped: Counter[str]) -> list[Span]:
    """The spans of one answer about text[start:end] of a response.

    A quote counts if it stands there letter by letter, as whole words, and has at most 12 of them. One that stands there several
    times means the first place that the answer has not named yet for that behavior.

    Args:
        quoted: mappings with `behavior` and `quote`.
        dropped: counts what is left out, by reason.
    """
    found: list[Span] = []
    inside = {place for word in words(text, *part) for place in range(word.start + 1, word.end)}
    behind: dict[tuple[str, str], int] = {}
    for one in quoted:
        behavior, quote = one["behavior"], one["quote"].strip()
        if not quote:
            dropped["empty"] += 1
        elif len(quote.split()) > MAX_QUOTE_WORDS:
            dropped["too_long"] += 1
        else:
            start = _whole(quote, text, (behind.get((behavior, quote), part[0]), part[1]), inside)
            if start < 0:
                dropped["repeated" if (behavior, quote) in behind else "not_in_text"] += 1
                continue
            behind[behavior, quote] = start + len(quote)
            found.append(Span(behavior, start, start + len(quote)))
    return found


def _whole(quote: str, text: str, part: tuple[int, int], inside: Set[int]) -> int:
    """The first place in text[start:end] where a quote begins and ends between words, -1 if there is none.

    Args:
        inside: places between two characters of one word.
    """
    start = text.find(quote, *part)
    while start >= 0 and not inside.isdisjoint((start, start + len(quote))):
        start = text.find(quote, start + 1, part[1])
    return start


def distinct(spans: Sequence[Span]) -> list[Span]:
    """One of several spans of a behavior that overlap: neighbouring parts of a text share a stretch."""
    kept: list[Span] = []
    for span in sorted(set(spans)):
        if kept and kept[-1].behavior == span.behavior and span.start < kept[-1].end:
            kept[-1] = kept[-1]._replace(end=max(kept[-1].end, span.end))
        else:
            kept.append(span)
    return kept
