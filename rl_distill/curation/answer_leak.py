"""Attempts that know the answer instead of finding it: they would teach a student to state what it has not worked out."""

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import field_validator

from rl_distill.config import config, setting
from rl_distill.curation.normalize import normalized, words
from rl_distill.curation.operation import AttemptFilter, Length, Selected
from rl_distill.errors import InputError
from rl_distill.trajectory import Group, Problem, Trajectory

CITATIONS = (
    r"\b(?:answer|solution) (?:is|was) (?:already )?(?:given|provided|known) (?:as|to be|in)\b",
    r"\b(?:given|provided|reference|gold|ground[- ]truth|official) (?:final )?answer (?:is|was|says|of|must be)\b",
    r"\b(?:reference|official|provided) solution\b",
    r"\banswer key\b",
    r"\baccording to the (?:answer|solution)s?\b",
)
_MARKUP = re.compile(r"</?\w+>|\\boxed\b")


@config
class AnswerLeak(AttemptFilter):
    """Leaves out attempts that state the answer without a way to it, cite an answer they were given, or copy the solution.

    A word counts wherever it stands, so that an answer without reasoning is one of few words. What the problem itself says is
    no citation.
    """

    name: Literal["answer_leak"] = "answer_leak"
    min_words: int = setting(
        10, about="fewest words and numbers that lead to an answer; 0 takes bare answers", unit="words", ge=0
    )
    citations: tuple[str, ...] = setting(CITATIONS, about="regular expressions, any case, that cite a given answer")
    solution_key: str | None = setting(
        None, about="key of the problems' metadata that has the solution an attempt must not copy; none compares with none"
    )
    ngram_words: int = setting(13, about="length of a run that is copied", unit="words", source="arXiv:2005.14165", ge=2)
    max_copied: float = setting(0.5, about="largest share of the solution's runs that an attempt may have", ge=0, lt=1)

    @field_validator("citations")
    @classmethod
    def _can_be_read(cls, citations: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in citations:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error}): mend it") from None
        return citations

    def apply(self, groups: Sequence[Group], seed: int, length: Length = len) -> Selected:
        if self.solution_key is not None and groups and not any(_solution(group.problem, self.solution_key) for group in groups):
            raise InputError(
                "curation.answer_leak.solution_key",
                f"finds no text under {self.solution_key!r}",
                "name a key that the problems have, or leave it out",
            )
        patterns = [re.compile(pattern, re.IGNORECASE) for pattern in self.citations]

        def fault(problem: Problem, attempt: Trajectory) -> str | None:
            return self._bare(attempt) or _cited(patterns, problem, attempt) or self._copied(problem, attempt)

        return self.keep_attempts(groups, fault)

    def _bare(self, attempt: Trajectory) -> str | None:
        count = len(words(normalized(_MARKUP.sub(" ", attempt.response))))
        return f"bare answer, words: {count}" if count < self.min_words else None

    def _copied(self, problem: Problem, attempt: Trajectory) -> str | None:
        if self.solution_key is None:
            return None
        runs = _runs(_solution(problem, self.solution_key), self.ngram_words)
        share = len(runs & _runs(attempt.response, self.ngram_words)) / max(1, len(runs))
        return f"copy: {share:.0%} of the solution's runs of {self.ngram_words} words" if share > self.max_copied else None


def _cited(patterns: Sequence[re.Pattern[str]], problem: Problem, attempt: Trajectory) -> str | None:
    asked = problem.prompt.lower()
    found = (match[0] for pattern in patterns for match in pattern.finditer(attempt.response))
    cited = next((text for text in found if text.lower() not in asked), None)
    return None if cited is None else f"citation: {cited!r}"


def _solution(problem: Problem, key: str) -> str:
    value = problem.metadata.get(key)
    return value if isinstance(value, str) else ""


def _runs(text: str, length: int) -> set[tuple[str, ...]]:
    """Runs of so many words; of a shorter text the whole."""
    found = words(normalized(text))
    return {tuple(found[place : place + length]) for place in range(max(1, len(found) - length + 1))} if found else set()
