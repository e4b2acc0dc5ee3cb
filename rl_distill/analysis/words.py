"""Text as words, in any script, each with where it stands; one pass over the text."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

# Scripts that write no spaces: each character stands alone, as Unicode's default word borders have it (UAX 29).
_ALONE = "\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_JOINERS = "'\u2019\u2010\u2011-"  # within a word: let's, double-check


class Word(NamedTuple):
    """A word as it is compared (composed, case folded), and the characters [start, end) that it takes."""

    text: str
    start: int
    end: int


def words(text: str, start: int = 0, end: int | None = None) -> Iterator[Word]:
    r"""The words of text[start:end], in order. A LaTeX command is the word it is named by; a compound with hyphens is one word.

    Example:
        >>> [word.text for word in words(r"Wait, let\u2019s double-check \frac{1}{2} \u2014 await BUTTON")]
        ['wait', "let's", 'double-check', 'frac', '1', '2', 'await', 'button']
    """
    for found in _pattern().finditer(text, start, len(text) if end is None else end):
        yield Word(folded(found.group()), found.start(), found.end())


def folded(word: str) -> str:
    """One spelling for a word: composed, without case, with plain apostrophes and hyphens, without markup around it."""
    if word.isascii():
        return word.lower().strip("\\_")
    plain = unicodedata.normalize("NFC", word)
    return plain.replace("\u2019", "'").replace("\u2010", "-").replace("\u2011", "-").strip("\\_").casefold()


def word_at(text: str, start: int) -> Word | None:
    """The word that begins at a character, if one does."""
    found = _pattern().match(text, start)
    return None if found is None else Word(folded(found.group()), found.start(), found.end())


def count_words(text: str) -> int:
    return sum(1 for _ in _pattern().finditer(text))


@cache
def _pattern() -> re.Pattern[str]:
    """A LaTeX command, a character that stands alone, or letters and digits with their marks (accents, vowel signs)."""
    letter = rf"[^\W{_ALONE}]"
    marks = f"[{_combining_marks()}]"
    joined = rf"[{_JOINERS}](?={letter})"
    return re.compile(rf"\\[A-Za-z]+|[{_ALONE}]|{letter}+(?:(?:{marks}+|{joined}){letter}*)*")


def _combining_marks() -> str:
    """Every combining mark of the basic plane, and the joiners of zero width, as ranges of a character class."""
    codes = [code for code in range(0x10000) if unicodedata.category(chr(code)).startswith("M")] + [0x200C, 0x200D]
    ranges: list[list[int]] = []
    for code in sorted(codes):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\u{low:04x}-\\u{high:04x}" for low, high in ranges)
