"""A response as it is read: its thinking span, and every entry of a class in it with its place."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from rl_distill.analysis.samples import Recorded, Unit, length
from rl_distill.analysis.token_classes import Matcher

_TAG = re.compile(r"</?think>")


class Found(NamedTuple):
    """An entry in a response. `end` is where it ends, in characters; `place` where it begins, from 0 (first character) to 1."""

    label: str
    entry: str
    end: int
    place: float
    inside: bool


@dataclass(frozen=True)
class Reading:
    """A response with what was found in it. Tokens are spread evenly over its characters: files name no tokenizer.

    length  of the whole response, in the unit of the report
    inside  share of its characters that lies in the thinking span
    """

    response: Recorded
    length: int
    inside: float
    found: tuple[Found, ...]

    @cached_property
    def counts(self) -> Counter[tuple[str, bool]]:
        """By label, and whether it stands inside of the thinking span."""
        return Counter((one.label, one.inside) for one in self.found)

    def until(self, limit: float) -> "Reading":
        """The response cut after so many tokens (or words), as if it had ended there."""
        if self.length <= limit:
            return self
        share = limit / self.length
        border = len(self.response.text) * share
        kept = tuple(one._replace(place=one.place / share) for one in self.found if one.end <= border)
        return Reading(self.response, round(limit), self.inside, kept)


def read(responses: Sequence[Recorded], matcher: Matcher, unit: Unit) -> list[Reading]:
    return [_reading(response, matcher, unit) for response in responses]


def thinking_spans(text: str) -> Iterator[tuple[int, int, bool]]:
    """[start, end) of each stretch of a response without its tags, and whether it is inside of <think>...</think>.

    A span that is not closed reaches to the end. A `</think>` that nothing opened closes a span that the prompt opened.

    Example:
        >>> list(thinking_spans("a<think>b</think>c"))
        [(0, 1, False), (8, 9, True), (17, 18, False)]
    """
    first = _TAG.search(text)
    inside = first is not None and first.group() == "</think>"
    start = 0
    for tag in _TAG.finditer(text):
        yield start, tag.start(), inside
        start, inside = tag.end(), tag.group() == "<think>"
    yield start, len(text), inside


def _reading(response: Recorded, matcher: Matcher, unit: Unit) -> Reading:
    text = response.text
    spans = list(thinking_spans(text))
    found = tuple(
        Found(match.label, match.entry, match.end, match.start / len(text), inside)
        for start, end, inside in spans
        for match in matcher.find(text, start, end)
    )
    within = sum(end - start for start, end, inside in spans if inside)
    return Reading(response, length(response, unit), within / len(text) if text else 0.0, found)
