"""Classes of words, from an editable file, and a matcher that finds them in a text in one pass."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import model_validator

from rl_distill.analysis.words import Word, word_at, words
from rl_distill.config import config, parse, read_yaml, setting

PACKAGED = Path(__file__).with_name("token_classes.yaml")
_WHITE = re.compile(r"\s+")
Entry = tuple[str, ...]  # the words of a phrase


@config
class ListLanguage:
    """The language that lists are in, so that text in another one can be told."""

    name: str = setting(about="for people", min_length=1)
    commonest: tuple[str, ...] = setting(about="function words that any text in it has many of, and others few", min_length=1)


@config
class TokenClasses:
    """A file of classes. A word stands in one class only."""

    version: int = setting(about="of the lists; part of every report", ge=1)
    language: ListLanguage | None = setting(None, about="of the lists; with none, text in another language is not told")
    classes: Mapping[str, tuple[str, ...]] = setting(about="by name: words and phrases", min_length=1)

    @model_validator(mode="after")
    def _each_entry_once(self) -> Self:
        seen: dict[Entry, str] = {}
        for name, entries in self.classes.items():
            for text in entries:
                entry = _entry(text)
                if not entry:
                    raise ValueError(f"classes: {name!r} holds {text!r}, which has no letters or digits; drop it")
                if entry in seen:
                    raise ValueError(f"classes: {text!r} stands in {seen[entry]!r} and in {name!r}; keep one of them")
                seen[entry] = name
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of what is counted, whatever comments and order the file has; every report gives it."""
        plain = {name: sorted(" ".join(_entry(text)) for text in entries) for name, entries in self.classes.items()}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def matcher(self) -> "Matcher":
        return Matcher((name, text) for name, entries in self.classes.items() for text in entries)


class Match(NamedTuple):
    """An entry of a class, as its list spells it, and the characters [start, end) of the text that it takes."""

    label: str
    entry: str
    start: int
    end: int


class Matcher:
    """Finds entries: whole words, whatever their case; words of a phrase have nothing but white space between them.

    A word of the text counts once: of entries that begin at it the longest is taken, and search goes on behind it.

    Args:
        entries: a label and the text of each.
    """

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        self._by_first: dict[str, list[tuple[Entry, str, str]]] = {}
        for entry, label, text in sorted(((_entry(text), label, text) for label, text in entries), key=lambda one: -len(one[0])):
            self._by_first.setdefault(entry[0], []).append((entry, label, text))

    def find(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Match]:
        """Matches in text[start:end], in order."""
        end = len(text) if end is None else end
        behind = start
        for word in words(text, start, end):
            if word.start < behind:
                continue
            for entry, label, name in self._by_first.get(word.text, ()):
                stop = _end_of_phrase(entry, word, text)
                if stop is not None and stop <= end:
                    yield Match(label, name, word.start, stop)
                    behind = stop
                    break


def load_classes(path: str | Path | None = None) -> TokenClasses:
    """The classes of a file; the package's own if there is none.

    Raises:
        InputError: naming the key of the file and what is wrong with it.
    """
    return parse(TokenClasses, read_yaml(PACKAGED if path is None else Path(path).expanduser()))


def _entry(text: str) -> Entry:
    return tuple(word.text for word in words(text))


def _end_of_phrase(entry: Entry, first: Word, text: str) -> int | None:
    """Where a phrase that begins with the word `first` ends; None if the text goes on otherwise."""
    end = first.end
    for wanted in entry[1:]:
        gap = _WHITE.match(text, end)
        word = word_at(text, gap.end() if gap else end)
        if word is None or word.text != wanted:
            return None
        end = word.end
    return end
