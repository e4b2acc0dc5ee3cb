"""Leaves out what the evaluation asks, also where it is asked in other words."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import field_validator, model_validator

from rl_distill.config import config, setting
from rl_distill.curation.contamination import HighRatio, Rule, SameSkeleton, SharedWords
from rl_distill.curation.drop import Drop
from rl_distill.curation.question import Question
from rl_distill.errors import InputError
from rl_distill.trajectory import Problem

STAGE = "decontaminate"
RuleName = Literal["ngram", "ratio", "skeleton"]


@config
class Decontaminate:
    """A problem falls if any rule finds it in the evaluation. Questions are compared, never traces.

    ngram     a run of words that both have
    ratio     nearly the same text, whatever the order of its sentences
    skeleton  the same numbers and the same gold answer
    """

    rules: tuple[RuleName, ...] = setting(("ngram", "ratio", "skeleton"), about="rules that are tried, in this order")
    ngram_words: int = setting(13, about="length of a shared run", unit="words", source="arXiv:2005.14165", ge=2)
    short_ngram_words: int = setting(
        8, about="the same for questions of fewer words than two long runs", unit="words", source="arXiv:2501.19393", ge=2
    )
    ngram_coverage: float = setting(
        0.3, about="share of an evaluation question's runs that must be met; a smaller share is a common phrase", gt=0, le=1
    )
    jaccard: float = setting(0.5, about="similarity of 5-character runs from which texts are compared by ratio", gt=0, lt=1)
    ratio: float = setting(
        95.0, about="from here on texts are the same", unit="per cent", source="OpenThoughts-114k", gt=0, le=100
    )
    min_numbers: int = setting(3, about="questions with fewer numbers have no skeleton", ge=1)
    skeleton_ratio: float = setting(50.0, about="texts less alike share a skeleton by chance", unit="per cent", ge=0, le=100)
    variants: Literal["keep", "drop"] = setting(
        "keep", about="whether `ngram` and `ratio` spare a question that is told alike with other numbers"
    )

    @field_validator("rules")
    @classmethod
    def _some_rules(cls, rules: tuple[RuleName, ...]) -> tuple[RuleName, ...]:
        if not rules or len(set(rules)) < len(rules):
            raise ValueError("name at least one rule, and each at most once")
        return rules

    @model_validator(mode="after")
    def _short_is_shorter(self) -> Self:
        if self.short_ngram_words > self.ngram_words:
            raise ValueError("short_ngram_words is at most ngram_words")
        return self

    def apply(self, problems: Sequence[Problem], evaluation: Sequence[Problem]) -> tuple[list[Problem], list[Drop]]:
        """Problems that are kept, and the others with the rule and the evaluation problem; both in the order given.

        Args:
            evaluation: the problems of all sets that the student will be evaluated on.

        Raises:
            InputError: the evaluation is empty, or a library is missing.
        """
        if not evaluation:
            raise InputError(
                "curation.decontaminate", "has no evaluation problems to compare with", "name the sets you evaluate on"
            )
        rules = self._rules([Question.of(problem) for problem in evaluation])
        kept, drops = [], []
        for problem in problems:
            drop = _first_match(problem, rules, evaluation)
            if drop is None:
                kept.append(problem)
            else:
                drops.append(drop)
        return kept, drops

    def _rules(self, evaluation: Sequence[Question]) -> dict[RuleName, Rule]:
        keep = self.variants == "keep"
        made: dict[RuleName, Rule] = {}
        for name in self.rules:
            if name == "ngram":
                made[name] = SharedWords(evaluation, (self.ngram_words, self.short_ngram_words), self.ngram_coverage, keep)
            elif name == "ratio":
                made[name] = HighRatio(evaluation, self.jaccard, self.ratio, keep)
            else:
                made[name] = SameSkeleton(evaluation, self.min_numbers, self.skeleton_ratio)
        return made


def _first_match(problem: Problem, rules: dict[RuleName, Rule], evaluation: Sequence[Problem]) -> Drop | None:
    question = Question.of(problem)
    for name, rule in rules.items():
        found = rule.match(question)
        if found is not None:
            return Drop(
                stage=STAGE,
                problem_id=problem.id,
                source=problem.source,
                reason=name,
                match=evaluation[found.place].id,
                detail=found.detail,
            )
    return None
