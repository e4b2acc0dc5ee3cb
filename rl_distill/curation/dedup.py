"""Leaves one of several problems that ask the same."""

import re
from collections.abc import Sequence
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.curation.drop import Drop
from rl_distill.curation.near_texts import NearTexts
from rl_distill.curation.question import Question, answers_differ, likeness
from rl_distill.errors import InputError
from rl_distill.trajectory import Problem

STAGE = "dedup"


@config
class Dedup:
    """MinHash finds candidates, an exact ratio of the normalised questions decides.

    Problems are looked at by source (as `sources` lists them, then as they first appear) and, within one, by id, "train-2" before
    "train-10". The first of several is kept. So what is kept does not depend on the order within a source.
    """

    jaccard: float = setting(
        0.6, about="similarity of 5-character runs from which two questions are compared; a typo spoils five of them", gt=0, lt=1
    )
    ratio: float = setting(95.0, about="from here on they are one", unit="per cent", source="OpenThoughts-114k", gt=0, le=100)
    variants: Literal["keep", "drop"] = setting(
        "keep", about="what becomes of a question that is told alike with other numbers, or that is known to have another answer"
    )
    sources: tuple[str, ...] = setting((), about="sources whose problems are kept first; the others follow as they appear")

    def apply(self, problems: Sequence[Problem]) -> tuple[list[Problem], list[Drop]]:
        """Problems that are kept, and the others with what each is like; both in the order given.

        Raises:
            InputError: `sources` names one that no problem has, or a library is missing.
        """
        unknown = set(self.sources) - {problem.source for problem in problems}
        if problems and unknown:
            raise InputError("curation.dedup.sources", f"no problem is from {', '.join(sorted(unknown))}", "mend the names")
        order = self._order(problems)
        questions = [Question.of(problems[place]) for place in order]
        near = NearTexts(self.jaccard)
        kept: list[int] = []  # places in `order`
        drops: dict[int, Drop] = {}
        for rank, question in enumerate(questions):
            sketch = question.sketch(by_numbers=self.variants == "keep")
            found = [(self._likeness(question, questions[other]), -other) for other in near.candidates(sketch)]
            best, other = max(found, default=(0.0, 0))
            if best:
                drops[order[rank]] = _drop(problems, questions, order, rank, -other, best)
            else:
                near.add(rank, sketch)
                kept.append(order[rank])
        return [problems[place] for place in sorted(kept)], [drops[place] for place in sorted(drops)]

    def _likeness(self, one: Question, other: Question) -> float:
        keep = self.variants == "keep"
        if keep and one.sorted_text != other.sorted_text and answers_differ(one, other):
            return 0.0
        return likeness(one, other, self.ratio, same_numbers=keep)

    def _order(self, problems: Sequence[Problem]) -> list[int]:
        """Places of the problems, the preferred ones first."""
        ranks = {source: rank for rank, source in enumerate(dict.fromkeys([*self.sources, *(each.source for each in problems)]))}
        return sorted(range(len(problems)), key=lambda place: (ranks[problems[place].source], _by_number(problems[place].id)))


def _by_number(identifier: str) -> list[tuple[int, str]]:
    """A key under which "train-2" stands before "train-10"."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", identifier)]


def _drop(
    problems: Sequence[Problem], questions: Sequence[Question], order: Sequence[int], rank: int, kept: int, found: float
) -> Drop:
    """Two gold answers for one question are said: one of them is wrong."""
    problem, match = problems[order[rank]], problems[order[kept]]
    conflict = answers_differ(questions[rank], questions[kept])
    return Drop(
        stage=STAGE,
        problem_id=problem.id,
        source=problem.source,
        reason="duplicate_with_other_answer" if conflict else "duplicate",
        match=match.id,
        detail=f"ratio {found:.1f}" + (f", answers {problem.answer!r} and {match.answer!r}" if conflict else ""),
    )
