"""From verified attempts to preference pairs: a correct one and a wrong one of the same problem."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.curation.drop import Drop
from rl_distill.curation.operation import Length
from rl_distill.curation.question import answer_key
from rl_distill.curation.similarity import ratio
from rl_distill.problems.base import same_text
from rl_distill.rewards.answers import boxed_answer
from rl_distill.trajectory import Group, Trajectory

STAGE = "pairs"
Pair = tuple[Trajectory, Trajectory]


@config
class Pairs:
    """One pair of each problem: a group of exactly one correct and one wrong attempt, in this order.

    redi              the first correct and the first wrong attempt (arXiv:2505.24850)
    length_matched    the correct and the wrong attempt whose lengths differ least
    nearest_wrong     the first correct attempt, and the wrong one whose response is most like it by ratio
    hardest_negative  the first correct attempt, and the first wrong one that gives the most common wrong answer

    The most common wrong answer is counted over the wrong attempts that may be used, by what their last box says, in one spelling
    (`question.answer_key`); attempts without a box are not counted, and if none has one there is no pair.

    Of equals the first counts: for `length_matched` the first correct one, then the first wrong one; for `hardest_negative` the
    answer that was given first. Attempts that could not be verified, or that ended in an error, are never used. One that broke
    off at the length limit (`finish_reason` "length") has no end to imitate, so it is never the correct one.
    """

    rule: Literal["redi", "length_matched", "nearest_wrong", "hardest_negative"] = setting("redi", about="which two are taken")
    truncated_negatives: bool = setting(False, about="an attempt that broke off at the length limit may be the wrong one")

    def apply(self, groups: Sequence[Group], length: Length = len) -> tuple[list[Group], list[Drop]]:
        """Pairs in the order of the groups, and why each other attempt, or a whole problem, is left out.

        A text that was judged both correct and wrong is used as neither.

        Args:
            length: of a response, such as its tokens; characters if not given.
        """
        kept: list[Group] = []
        drops: list[Drop] = []
        for group in groups:
            reasons = [self._reason(attempt, group) for attempt in group.trajectories]
            usable = [attempt for attempt, reason in zip(group.trajectories, reasons, strict=True) if reason is None]
            correct, wrong = ([attempt for attempt in usable if attempt.status == status] for status in ("correct", "wrong"))
            pair = RULES[self.rule](correct, wrong, length) if correct and wrong else None
            if pair is not None:
                kept.append(replace(group, trajectories=pair))
            else:
                drops.append(_dropped(group, _no_pair(correct, wrong), detail=f"{len(correct)} correct, {len(wrong)} wrong"))
            drops += _unused(group, reasons, pair)
        return kept, drops

    def _reason(self, attempt: Trajectory, group: Group) -> str | None:
        """Why an attempt takes no part, or None."""
        if attempt.finish_reason == "error" or attempt.status not in ("correct", "wrong"):
            return "not_verified"
        if attempt.finish_reason == "length" and (attempt.status == "correct" or not self.truncated_negatives):
            return "truncated"
        others = (other for other in group.trajectories if {attempt.status, other.status} == {"correct", "wrong"})
        return "judged_both_ways" if any(same_text(attempt.messages, other.messages) for other in others) else None


def _first_of_each(correct: Sequence[Trajectory], wrong: Sequence[Trajectory], length: Length) -> Pair | None:
    return correct[0], wrong[0]


def _length_matched(correct: Sequence[Trajectory], wrong: Sequence[Trajectory], length: Length) -> Pair | None:
    long, short = ([length(attempt.response) for attempt in attempts] for attempts in (correct, wrong))
    chosen, rejected = min(product(range(len(correct)), range(len(wrong))), key=lambda pair: abs(long[pair[0]] - short[pair[1]]))
    return correct[chosen], wrong[rejected]


def _nearest_wrong(correct: Sequence[Trajectory], wrong: Sequence[Trajectory], length: Length) -> Pair | None:
    return correct[0], max(wrong, key=lambda attempt: ratio(correct[0].response, attempt.response))


def _hardest_negative(correct: Sequence[Trajectory], wrong: Sequence[Trajectory], length: Length) -> Pair | None:
    answers = [answer_key(boxed_answer(attempt.response)) for attempt in wrong]
    given = Counter(answer for answer in answers if answer is not None)
    if not given:
        return None
    return correct[0], wrong[answers.index(max(given, key=given.__getitem__))]


Rule = Callable[[Sequence[Trajectory], Sequence[Trajectory], Length], Pair | None]
RULES: Mapping[str, Rule] = {
    "redi": _first_of_each,
    "length_matched": _length_matched,
    "nearest_wrong": _nearest_wrong,
    "hardest_negative": _hardest_negative,
}


def _no_pair(correct: Sequence[Trajectory], wrong: Sequence[Trajectory]) -> str:
    if correct and wrong:
        return "no_wrong_answer"
    if correct or wrong:
        return "no_wrong" if correct else "no_correct"
    return "nothing_usable"


def _unused(group: Group, reasons: Sequence[str | None], pair: Pair | None) -> list[Drop]:
    """The attempts that are not in the pair, each with its reason. Attempts may be equal records, so places are compared."""
    used = [next(place for place, attempt in enumerate(group.trajectories) if attempt is one) for one in pair or ()]
    return [_dropped(group, reason or "not_taken", attempt=place) for place, reason in enumerate(reasons) if place not in used]


def _dropped(group: Group, reason: str, *, detail: str = "", attempt: int | None = None) -> Drop:
    return Drop(
        stage=STAGE, problem_id=group.problem.id, source=group.problem.source, reason=reason, detail=detail, attempt=attempt
    )
