"""What a judge quoted, held against the text: quotes that are not in it are dropped and counted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

MAX_QUOTE_WORDS = 12


class Span(NamedTuple):
    """A place in a response, characters [start, end), where a behavior shows."""

    behavior: str
    start: int
    end: int


def verified_spans(quoted: Iterable[Mapping[str, str]], text: str, part: tuple[int, int], dropped: Counter[str]) -> list[Span]:
    """The spans of one answer about text[start:end] of a response.

    A quote counts if it stands there letter by letter and has at most 12 words. One that stands there several times means the
    first place that the answer has not named yet for that behavior.

    Args:
        quoted: mappings with `behavior` and `quote`.
        dropped: counts what is left out, by reason.
    """
    found: list[Span] = []
    behind: dict[tuple[str, str], int] = {}
    for one in quoted:
        behavior, quote = one["behavior"], one["quote"].strip()
        if not quote:
            dropped["empty"] += 1
        elif len(quote.split()) > MAX_QUOTE_WORDS:
            dropped["too_long"] += 1
        else:
            start = text.find(quote, behind.get((behavior, quote), part[0]), part[1])
            if start < 0:
                dropped["repeated" if (behavior, quote) in behind else "not_in_text"] += 1
                continue
            behind[behavior, quote] = start + len(quote)
            found.append(Span(behavior, start, start + len(quote)))
    return found


def distinct(spans: Sequence[Span]) -> list[Span]:
    """One of several spans of a behavior that overlap: neighbouring parts of a text share a stretch."""
    kept: list[Span] = []
    for span in sorted(set(spans)):
        if kept and kept[-1].behavior == span.behavior and span.start < kept[-1].end:
            kept[-1] = kept[-1]._replace(end=max(kept[-1].end, span.end))
        else:
            kept.append(span)
    return kept
