"""Selections that look at attempts: how long they are, whether they go round in circles, what script they are written in."""

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, Self

from pydantic import field_validator, model_validator

from rl_distill.config import config, setting
from rl_distill.curation.operation import AttemptFilter, Length, Selected
from rl_distill.rewards.repetition import Repetition
from rl_distill.trajectory import Group, Problem, Trajectory

Script = Literal[
    "latin", "greek", "cyrillic", "cjk", "hiragana", "katakana", "hangul", "arabic", "hebrew", "devanagari", "bengali", "thai"
]
_NOTATION = "greek"  # letters of formulas, whatever the language around them


@config
class LengthQuantile(AttemptFilter):
    """Keeps attempts whose length lies between two quantiles of all attempts' lengths, the bounds included."""

    name: Literal["length_quantile"] = "length_quantile"
    low: float = setting(0.0, about="share of attempts that are shorter than the shortest kept", ge=0, le=1)
    high: float = setting(0.95, about="share of attempts that are no longer than the longest kept", ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low is less than high")
        return self

    def apply(self, groups: Sequence[Group], seed: int, length: Length = len) -> Selected:
        lengths = {attempt.response: length(attempt.response) for group in groups for attempt in group.trajectories}
        ordered = sorted(lengths[attempt.response] for group in groups for attempt in group.trajectories)
        shortest, longest = (_quantile(ordered, share) for share in (self.low, self.high)) if ordered else (0, 0)

        def fault(_: Problem, attempt: Trajectory) -> str | None:
            own = lengths[attempt.response]
            return None if shortest <= own <= longest else f"length {own}, kept are {shortest} to {longest}"

        return self.keep_attempts(groups, fault)


@config
class RepeatedNgrams(AttemptFilter):
    """Leaves out attempts that go round in circles: too large a share of their n-grams came before."""

    name: Literal["repetition"] = "repetition"
    ngram_words: int = setting(
        20, about="length of an n-gram; short ones come back in any long chain of thought", unit="words", ge=1
    )
    max_fraction: float = setting(0.2, about="largest share of repeated n-grams that is kept", ge=0, lt=1)

    def apply(self, groups: Sequence[Group], seed: int, length: Length = len) -> Selected:
        measure = Repetition(ngram_words=self.ngram_words)

        def fault(_: Problem, attempt: Trajectory) -> str | None:
            repeated = -measure.penalty(attempt.response)
            return f"{repeated:.0%} of its {self.ngram_words}-grams are repeated" if repeated > self.max_fraction else None

        return self.keep_attempts(groups, fault)


@config
class Language(AttemptFilter):
    """Leaves out attempts that change their script, as models do that were trained on several languages.

    It tells scripts, not languages: German inside English goes unseen. Greek letters always count as formulas; digits, signs and
    LaTeX commands are no evidence.
    """

    name: Literal["language"] = "language"
    scripts: tuple[Script, ...] = setting(
        ("latin",), about="scripts of the expected language; Japanese has cjk, hiragana, katakana"
    )
    max_fraction: float = setting(0.01, about="largest share of letters in other scripts that is kept", ge=0, lt=1)

    @field_validator("scripts")
    @classmethod
    def _some_script(cls, scripts: tuple[Script, ...]) -> tuple[Script, ...]:
        if not scripts:
            raise ValueError("name at least one script")
        return scripts

    def fault(self, text: str) -> str | None:
        """What is wrong with a text, in words; None if it is in the expected scripts."""
        expected = {*self.scripts, _NOTATION}
        found = letters_by_script(text)
        others = {script: times for script, times in found.items() if script not in expected}
        share = sum(others.values()) / max(1, sum(found.values()))
        most = max(others, key=lambda script: (others[script], script), default="")
        return f"{share:.1%} of its letters are in other scripts, most in {most}" if share > self.max_fraction else None

    def apply(self, groups: Sequence[Group], seed: int, length: Length = len) -> Selected:
        return self.keep_attempts(groups, lambda _, attempt: self.fault(attempt.response))


def letters_by_script(text: str) -> Counter[str]:
    """How many letters of a text are in each script, by the first word of their Unicode names, in lower case.

    Example:
        >>> letters_by_script("so 答案 is 𝑥")
        Counter({'latin': 5, 'cjk': 2})
    """
    found: Counter[str] = Counter()
    for character, times in Counter(unicodedata.normalize("NFKC", text)).items():
        if character.isalpha():
            found[_script(character)] += times
    return found


@lru_cache(maxsize=65536)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "unnamed").split()[0].split("-")[0].lower()


def _quantile(ordered: Sequence[int], share: float) -> int:
    """The least value that at least this share of the values does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]
