"""Whether texts are in the language of the lists: words of another one are in no list, and a rate of 0 says nothing then."""

from collections.abc import Mapping, Sequence
from typing import Any

from rl_distill.analysis.readings import thinking_spans
from rl_distill.analysis.samples import SampleSet
from rl_distill.analysis.token_classes import ListLanguage, Matcher
from rl_distill.analysis.words import words

FEWEST_WORDS = 10  # of which a share says something
KNOWN_SHARE = 0.1  # English prose has .4 to .5, solutions full of formulas .2; German, French or Spanish text .00 to .04


def language_report(sets: Sequence[SampleSet], language: ListLanguage | None, matcher: Matcher) -> dict[str, Any] | None:
    """By set its words, and the share of them that is among the commonest of the lists' language or in a list.

    Words are runs of two letters or more, so that numbers and variables count for no language; a character of a script without
    spaces is one. LaTeX commands and the tags of thinking are none.

    Returns:
        Plain data; None where the lists name no language.
    """
    if language is None:
        return None
    return {
        "name": language.name,
        "known_share": KNOWN_SHARE,
        "sets": {one.name: _known([response.text for response in one.responses], language, matcher) for one in sets},
    }


def language_notes(report: Mapping[str, Any] | None) -> list[str]:
    """A line for each set that is hardly in the lists' language."""
    if report is None:
        return []
    return [
        f"{name}: the lists are {report['name']}, and {one['share']:.0%} of its {one['words']:,} words are in a list or among "
        f"the commonest of that language, fewer than {report['known_share']:.0%}: rates near 0 say little about how it reasons"
        for name, one in report["sets"].items()
        if one["share"] is not None and one["share"] < report["known_share"]
    ]


def _known(texts: Sequence[str], language: ListLanguage, matcher: Matcher) -> dict[str, Any]:
    commonest = frozenset(language.commonest)
    count = known = 0
    for text in texts:
        in_lists = {place for match in matcher.find(text) for place in range(match.start, match.end)}
        for word in (word for start, end, _ in thinking_spans(text) for word in words(text, start, end)):
            if text[word.start] == "\\" or not _is_word(word.text):
                continue
            count += 1
            known += word.text in commonest or word.start in in_lists
    return {"words": count, "share": known / count if count >= FEWEST_WORDS else None}


def _is_word(text: str) -> bool:
    """Two letters of an alphabet, or a character that is a word by itself."""
    return any(letter.isalpha() for letter in text) and (len(text) > 1 or not text.isascii())
