"""A problem as the stages that look for copies see it."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from rl_distill.curation.near_texts import sketch
from rl_distill.curation.normalize import normalized, numbers, sentences_sorted
from rl_distill.curation.similarity import ratio
from rl_distill.rewards import answers
from rl_distill.trajectory import Problem

_DEGREES = re.compile(r"\s*(?:\^\s*(?:\\circ(?![a-zA-Z])|\{\s*\\circ\s*\})|°)")
_SPACED_LATEX = re.compile(r"\s+\\")


@dataclass(frozen=True, slots=True)
class Question:
    """A normalised question, once as it stands and once with its sentences in alphabetical order, with the numbers of each."""

    text: str
    numbers: tuple[str, ...]
    sorted_text: str
    sorted_numbers: tuple[str, ...]
    answer: str | None

    @classmethod
    def of(cls, problem: Problem) -> "Question":
        text = normalized(problem.prompt)
        in_order = sentences_sorted(text)
        return cls(text, numbers(text), in_order, numbers(in_order), answer_key(problem.answer))

    def sketch(self, *, by_numbers: bool) -> Any:
        """MinHash of the sorted text; `by_numbers`: questions with other numbers are no candidates of each other."""
        return sketch(self.sorted_text, " ".join(sorted(self.numbers)) if by_numbers else "")


def likeness(one: Question, other: Question, at_least: float, *, same_numbers: bool) -> float:
    """The larger ratio, in per cent, of the texts as they stand and with sorted sentences; 0 where it is below `at_least`.

    Args:
        same_numbers: texts whose numbers differ, or come in another order, are not alike at all. "5 apples and 3 pears" is
            another question than "3 apples and 5 pears", however few letters differ.
    """
    best = 0.0
    if not same_numbers or one.numbers == other.numbers:
        best = ratio(one.text, other.text, at_least)
    if not same_numbers or one.sorted_numbers == other.sorted_numbers:
        best = max(best, ratio(one.sorted_text, other.sorted_text, at_least))
    return best


def numbers_nested(one: Question, other: Question) -> bool:
    """Whether all numbers of one are among those of the other: a question may be quoted in part, or within a longer one."""
    here, there = Counter(one.numbers), Counter(other.numbers)
    return here <= there or there <= here


def answers_differ(one: Question, other: Question) -> bool:
    """Whether both gold answers are known and are not the same."""
    return one.answer is not None and other.answer is not None and one.answer != other.answer


def answer_key(answer: str | None) -> str | None:
    r"""A gold answer in one spelling, or None where nobody knows it: numbers by value, degrees without sign, no loose spaces.

    Example:
        >>> answer_key("$1{,}000.0$"), answer_key(r"83^\circ")
        ('1000', '83')
    """
    if answer is None or not answer.strip():
        return None
    plain = _DEGREES.sub("", answer)
    number = answers.decimal(plain)
    if number is None:
        return _SPACED_LATEX.sub(r"\\", answers.normalized(plain))
    value, percent = number
    return f"{value.normalize():f}" + ("%" if percent else "")
