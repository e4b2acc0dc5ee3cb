"""The rules by which a problem is taken for a copy of an evaluation problem. Each is an index of the evaluation problems."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rl_distill.curation.near_texts import NearTexts
from rl_distill.curation.normalize import words
from rl_distill.curation.question import Question, likeness, numbers_nested
from rl_distill.curation.similarity import ratio


@dataclass(frozen=True, slots=True)
class Match:
    """Which evaluation problem a question is like (its place in the evaluation), and what was found."""

    place: int
    detail: str


class Rule(ABC):
    """One way in which a question can be like an evaluation problem."""

    @abstractmethod
    def match(self, question: Question) -> Match | None:
        """The evaluation problem that the question is most like; the first of equals; None where it is like none."""


class SharedWords(Rule):
    """Runs of words that both have. An evaluation question shorter than two long runs is looked for by short ones.

    Args:
        num_words: length of a run in a long and in a short question.
        coverage: share of the evaluation question's runs that must be met. Less is a phrase that hundreds of problems have
            ("where m and n are relatively prime positive integers").
        keep_variants: runs count only where the numbers of one question are among those of the other.
    """

    def __init__(self, evaluation: Sequence[Question], num_words: tuple[int, int], coverage: float, keep_variants: bool) -> None:
        self.evaluation, self.coverage, self.keep_variants = evaluation, coverage, keep_variants
        self.places: dict[int, defaultdict[tuple[str, ...], list[int]]] = {length: defaultdict(list) for length in num_words}
        self.num_runs: list[int] = []
        long, short = num_words
        for place, question in enumerate(evaluation):
            text = words(question.text)
            length = long if len(text) >= 2 * long else short
            runs = dict.fromkeys(_runs(text, length))
            self.num_runs.append(len(runs))
            for run in runs:
                self.places[length][run].append(place)

    def match(self, question: Question) -> Match | None:
        shared = self._shared(words(question.text))
        found = [
            (len(runs) / self.num_runs[place], -place)
            for place, runs in shared.items()
            if len(runs) >= self.coverage * self.num_runs[place]
            and not (self.keep_variants and not numbers_nested(question, self.evaluation[place]))
        ]
        if not found:
            return None
        covered, negative = max(found)
        run = shared[-negative][0]
        return Match(-negative, f"{covered:.0%} of its runs of {len(run)} words, such as {' '.join(run)!r}")

    def _shared(self, text: Sequence[str]) -> dict[int, list[tuple[str, ...]]]:
        """The distinct runs that a text has in common with each evaluation question, by its place."""
        shared: dict[int, list[tuple[str, ...]]] = defaultdict(list)
        for length, index in self.places.items():
            for run in dict.fromkeys(_runs(text, length)):
                for place in index.get(run, ()):
                    shared[place].append(run)
        return shared


class HighRatio(Rule):
    """Nearly the same text, whatever the order of its sentences.

    Args:
        jaccard: similarity of 5-character runs from which texts are compared; small, as a typo spoils five of them.
        at_least: the ratio, in per cent.
    """

    def __init__(self, evaluation: Sequence[Question], jaccard: float, at_least: float, keep_variants: bool) -> None:
        self.evaluation, self.at_least, self.keep_variants = evaluation, at_least, keep_variants
        self.near = NearTexts(jaccard)
        for place, question in enumerate(evaluation):
            self.near.add(place, question.sketch(by_numbers=keep_variants))

    def match(self, question: Question) -> Match | None:
        found = [
            (likeness(question, self.evaluation[place], self.at_least, same_numbers=self.keep_variants), -place)
            for place in self.near.candidates(question.sketch(by_numbers=self.keep_variants))
        ]
        best, negative = max(found, default=(0.0, 0))
        return Match(-negative, f"ratio {best:.1f}") if best else None


class SameSkeleton(Rule):
    """The same numbers, whatever their order, and the same gold answer: a question that was told anew.

    Args:
        min_numbers: questions with fewer numbers are not compared: too many have the same ones by chance.
        at_least: ratio of the texts, in per cent, below which the numbers are the same by chance.
    """

    def __init__(self, evaluation: Sequence[Question], min_numbers: int, at_least: float) -> None:
        self.evaluation, self.min_numbers, self.at_least = evaluation, min_numbers, at_least
        self.places: dict[tuple[tuple[str, ...], str], list[int]] = defaultdict(list)
        for place, question in enumerate(evaluation):
            if question.answer is not None and len(question.numbers) >= min_numbers:
                self.places[_skeleton(question), question.answer].append(place)

    def match(self, question: Question) -> Match | None:
        if question.answer is None:
            return None
        places = self.places.get((_skeleton(question), question.answer), ())
        found = [(ratio(question.sorted_text, self.evaluation[place].sorted_text, self.at_least), -place) for place in places]
        best, place = max(found, default=(0.0, 0))
        if not best:
            return None
        return Match(-place, f"numbers {', '.join(_skeleton(question))} and answer {question.answer}, ratio {best:.1f}")


def _skeleton(question: Question) -> tuple[str, ...]:
    return tuple(sorted(question.numbers))


def _runs(text: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(text[start:] for start in range(length)), strict=False)
