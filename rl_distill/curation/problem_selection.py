"""Selections that look at problems: how hard they are, how like each other, how many."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import model_validator

from rl_distill.config import config, setting
from rl_distill.curation.drop import Drop
from rl_distill.curation.near_texts import NearTexts
from rl_distill.curation.operation import Length, Operation, Selected
from rl_distill.curation.question import Question
from rl_distill.errors import InputError
from rl_distill.trajectory import Group


@config
class PassRate(Operation):
    """Keeps problems that are neither too hard nor too easy, by the share of correct attempts among the verified ones.

    With 0 < low and high < 1 it leaves out what GRPO learns nothing from: problems that are always or never solved.
    """

    name: Literal["pass_rate"] = "pass_rate"
    low: float = setting(0.1, about="least pass rate that is kept; 0 keeps problems that are never solved", ge=0, le=1)
    high: float = setting(0.9, about="largest pass rate that is kept; 1 keeps problems that are always solved", ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is at most high")
        return self

    def apply(self, groups: Sequence[Group], seed: int, length: Length = len) -> Selected:
        kept: list[Group] = []
        drops: list[Drop] = []
        for group in groups:
            found = Counter(attempt.status for attempt in group.trajectories)
            verified = found["correct"] + found["wrong"]
            reason = self._reason(found["correct"], verified)
            if reason is None:
                kept.append(group)
            else:
                drops.append(self.dropped(group, reason, detail=f"{found['correct']} of {verified} correct"))
        return kept, drops

    def _reason(self, correct: int, verified: int) -> str | None:
        if not verified:
            return "not_verified"
        if correct / verified < self.low:
            return "too_hard"
        return "too_easy" if correct / verified > self.high else None


@config
class Difficulty(Operation):
    """Keeps problems by the difficulty that their set says they have: a number between two bounds, or one of some labels.

    MATH has 1 to 5, TACO words such as MEDIUM, APPS words such as interview. What has no such label is left out.
    """

    name: Literal["difficulty"] = "difficulty"
    key: str = setting("difficulty", about="key of the problems' metadata, such as `level` for the embedded arithmetic world")
    low: float | None = setting(None, about="least number that is kept; none has no lower bound", allow_inf_nan=False)
    high: float | None = setting(None, about="largest number that is kept; none has no upper bound", allow_inf_nan=False)
    labels: tuple[str, ...] = setting((), about="words that are kept, in place of bounds")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        bounded = self.low is not None or self.high is not None
        if bounded == bool(self.labels):
            raise ValueError("give low, high or both for numbers, or labels for words")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is at most high")
        return self

    def apply(self, groups: Sequence[Group], seed: int, length: Length = len) -> Selected:
        reasons = [self._reason(group.problem.metadata.get(self.key)) for group in groups]
        if groups and set(reasons) == {"no_difficulty"}:
            kind = "word" if self.labels else "number"
            raise InputError(
                "curation.difficulty.key", f"finds no {kind} under {self.key!r}", "name a key that the problems have"
            )
        kept: list[Group] = []
        drops: list[Drop] = []
        for group, reason in zip(groups, reasons, strict=True):
            if reason is None:
                kept.append(group)
            else:
                drops.append(self.dropped(group, reason, detail=f"{self.key} {group.problem.metadata.get(self.key)!r}"))
        return kept, drops

    def _reason(self, value: object) -> str | None:
        if self.labels:
            return ("no_difficulty" if not isinstance(value, str) else "other_difficulty") if value not in self.labels else None
        if not isinstance(value, int | float) or isinstance(value, bool):
            return "no_difficulty"
        if self.low is not None and value < self.low:
            return "low_difficulty"
        return "high_difficulty" if self.high is not None and value > self.high else None


@config
class OnePerCluster(Operation):
    """Keeps problems that are unlike each other: in random order, each is kept unless it is similar to one that is kept already.

    So every problem that is left out is itself similar to the one named as its match. Numbers make no difference here: of a
    template's problems one is kept.
    """

    name: Literal["one_per_cluster"] = "one_per_cluster"
    jaccard: float = setting(0.5, about="similarity of 5-character runs (by MinHash) from which two are similar", gt=0, lt=1)

    def apply(self, groups: Sequence[Group], seed: int, length: Length = len) -> Selected:
        near = NearTexts(self.jaccard)
        sketches = [Question.of(group.problem).sketch(by_numbers=False) for group in groups]
        drops: dict[int, Drop] = {}
        for place in self.shuffled(groups, seed):
            found = [(sketches[place].jaccard(sketches[other]), -other) for other in near.candidates(sketches[place])]
            similarity, negative = max(found, default=(0.0, 0))
            if similarity >= self.jaccard:
                match, detail = groups[-negative].problem.id, f"similarity {similarity:.2f}"
                drops[place] = self.dropped(groups[place], "same_cluster", match=match, detail=detail)
            else:
                near.add(place, sketches[place])
        return [group for place, group in enumerate(groups) if place not in drops], [drops[place] for place in sorted(drops)]


@config
class CapPerSource(Operation):
    """Keeps at most so many problems of each source, drawn at random."""

    name: Literal["cap_per_source"] = "cap_per_source"
    max_problems: int = setting(about="largest number of problems of one source", ge=1)

    def apply(self, groups: Sequence[Group], seed: int, length: Length = len) -> Selected:
        taken: Counter[str] = Counter()
        left_out: set[int] = set()
        for place in self.shuffled(groups, seed):
            source = groups[place].problem.source
            taken[source] += 1
            if taken[source] > self.max_problems:
                left_out.add(place)
        kept = [group for place, group in enumerate(groups) if place not in left_out]
        return kept, [
            self.dropped(
                groups[place], "source_full", detail=f"{self.max_problems} of {taken[groups[place].problem.source]} kept"
            )
            for place in sorted(left_out)
        ]


@config
class Sample(Operation):
    """Keeps so many problems, drawn at random: those of a smaller sample by the same seed are among those of a larger one."""

    name: Literal["sample"] = "sample"
    num_problems: int = setting(about="size of the sample", ge=1)

    def apply(self, groups: Sequence[Group], seed: int, length: Length = len) -> Selected:
        if self.num_problems > len(groups):
            problem = f"asks for {self.num_problems} problems where {len(groups)} are left"
            raise InputError("curation.sample.num_problems", problem, "ask for fewer, or leave the key `sample` out")
        chosen = set(self.shuffled(groups, seed)[: self.num_problems])
        kept = [group for place, group in enumerate(groups) if place in chosen]
        left_out = [group for place, group in enumerate(groups) if place not in chosen]
        return kept, [self.dropped(group, "not_drawn", detail=f"{len(kept)} of {len(groups)}") for group in left_out]
