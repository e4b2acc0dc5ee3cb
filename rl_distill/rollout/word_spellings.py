"""How a word or phrase that must not be sampled may be written, in the bytes of UTF-8, and how far a text has got with it.

"Double-check" = d o u b l e (- or a hyphen of another kind, or a space, or nothing) c h e c k
"omega" in Greek = (capital or small omega) (capital or small mu) ...; an accent may be a character of its own
"""

import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

# White space of Unicode in UTF-8, as far as one token holds a character of it.
_SPACES = re.compile(rb"(?:[\s\x1c-\x1f]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)+")
LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")  # of folded text; what is beyond ASCII is a border
_HYPHENS, _APOSTROPHES = "-\u2010\u2011", "'\u2019"
_LONGEST_FOLD = 3  # characters that one character may become when its case is folded
Spelled = tuple[bytes, ...]


class Place(NamedTuple):
    """Within a word: characters that are written, and bytes of the next one."""

    written: int = 0
    begun: bytes = b""


class Word:
    """A word or phrase with all its spellings: any case in any script, accents composed or not, any kind of hyphen or apostrophe.

    A hyphen between letters may be written as a space or left out, a space between letters as a hyphen.

    text         as it was given
    plain        one spelling of it, in folded bytes
    characters   of the word, each with the ways to write it, in folded bytes
    is_bordered  at its beginning and at its end: by an ASCII letter or digit, beside which another one would make it another word
    """

    def __init__(self, text: str) -> None:
        plain = _plain(text)
        self.text, self.plain = text, folded(plain.encode())
        self.characters: tuple[Spelled, ...] = tuple(_characters(plain))
        self.is_bordered = tuple(folded(plain[end].encode())[0] in LETTERS for end in (0, -1))

    def behind(self, place: Place, piece: bytes) -> Iterator[Place]:
        """Places that the word gets to with a piece that is a part of what is missing, and not all of it."""
        for spelled in self.characters[place.written]:
            missing = spelled.removeprefix(place.begun)
            if not spelled.startswith(place.begun):
                continue
            if len(piece) < len(missing):
                if missing.startswith(piece):
                    yield Place(place.written, place.begun + piece)
            elif piece.startswith(missing) and place.written + 1 < len(self.characters):
                next_one, rest = Place(place.written + 1), piece[len(missing) :]
                yield from self.behind(next_one, rest) if rest else iter((next_one,))

    def missing(self, place: Place) -> tuple[Spelled, ...]:
        """The ways to write what is missing, character by character."""
        first = tuple(one[len(place.begun) :] for one in self.characters[place.written] if one.startswith(place.begun))
        return (first, *self.characters[place.written + 1 :])

    @property
    def pattern(self) -> bytes:
        """Regular expression of the whole word in folded text."""
        before, behind = (border if bordered else b"" for border, bordered in zip(_BORDERS, self.is_bordered, strict=True))
        return before + b"".join(b"(?:%b)" % b"|".join(map(re.escape, one)) for one in self.characters) + behind


_BORDERS = (rb"(?<![a-z0-9])", rb"(?![a-z0-9])")


def folded(piece: bytes) -> bytes:
    """Bytes of a text or a token with ASCII's cases folded and one space for any run of white space."""
    return _SPACES.sub(b" ", piece).lower()


def _plain(text: str) -> str:
    """Composed, without case, with one space between words."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", " ".join(text.split())).casefold())


def _characters(plain: str) -> Iterator[Spelled]:
    cases, place = _cases(), 0
    while place < len(plain):
        size = next(size for size in range(_LONGEST_FOLD, 0, -1) if size == 1 or plain[place : place + size] in cases)
        here = plain[place : place + size]
        around = (plain[place - 1 : place] + plain[place + size : place + size + 1]) if place else ""
        ways = {here, *cases.get(here, ()), *_joints(here, joins=len(around) == 2 and around.isalpha())}
        ways |= {unicodedata.normalize(kind, way) for way in ways for kind in ("NFC", "NFD")}
        yield tuple(sorted({folded(way.encode()) for way in ways}))
        place += size


def _joints(here: str, *, joins: bool) -> Iterator[str]:
    """Other ways to write what stands between the parts of a word or phrase."""
    if here in _APOSTROPHES:
        yield from _APOSTROPHES
    elif here in _HYPHENS:
        yield from _HYPHENS + (" " if joins else "")
        if joins:
            yield ""
    elif here == " " and joins:
        yield from _HYPHENS


@cache
def _cases() -> Mapping[str, tuple[str, ...]]:
    """By what they become when their case is folded, the characters that are written otherwise."""
    found: dict[str, list[str]] = {}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if (without := character.casefold()) != character:
            found.setdefault(unicodedata.normalize("NFC", without), []).append(character)
    return {without: tuple(characters) for without, characters in found.items()}
