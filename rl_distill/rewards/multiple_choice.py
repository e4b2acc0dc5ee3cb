"""Is the chosen letter right?"""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from rl_distill.config import config
from rl_distill.errors import InputError
from rl_distill.rewards.answers import boxed_answer, normalized
from rl_distill.rewards.base import Attempt, Verifier, with_ending
from rl_distill.trajectory import Problem, Verdict

_LONGEST = 1000  # characters of a box that are looked at: a letter, and perhaps the text of the choice
_LETTER = re.compile(r"\(?(?P<letter>[A-Za-z])(?:\)|[.:]|\Z)", re.DOTALL)


@config
class MultipleChoice(Verifier):
    r"""Compares the letter in the last box with the gold one: `\boxed{B}`, `\boxed{\text{(b)}}`, `\boxed{B. 3 kg}` are all B.

    | method | status | when |
    |---|---|---|
    | `no_gold` | unverifiable | nobody knows the letter |
    | `generation_error` | unverifiable | sampling failed: there is no attempt |
    | `truncated` | wrong | no letter in a box, and the token limit cut the response |
    | `no_letter` | wrong | no box, or one that begins with no letter of a choice |
    | `letter` | correct, wrong | the same letter, or another |
    """

    evidence: ClassVar[str] = "gold letter"
    states_answers: ClassVar[bool] = True

    name: Literal["multiple_choice"] = "multiple_choice"

    def can_judge(self, problem: Problem) -> bool:
        gold = (problem.answer or "").strip()
        if len(gold) > 1 or (gold and not ("A" <= gold <= "Z")):
            raise InputError(f"problem {problem.id!r}", f"has the gold answer {gold[:40]!r}", "give the letter of a choice")
        return bool(gold)

    def verdicts(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        return [
            with_ending(self._judged(problem, attempt.response), attempt.finish_reason, "no_letter")
            for problem, attempt in attempts
        ]

    def stated_answer(self, response: str) -> str | None:
        box = boxed_answer(response)
        found = _LETTER.match(normalized(box)) if box is not None and len(box) <= _LONGEST else None
        return found["letter"].upper() if found else None

    def _judged(self, problem: Problem, response: str) -> Verdict:
        if not self.can_judge(problem):
            return Verdict(status="unverifiable", method="no_gold")
        letter = self.stated_answer(response)
        if letter is None:
            return Verdict(status="wrong", method="no_letter")
        return Verdict(status="correct" if letter == (problem.answer or "").strip() else "wrong", method="letter")
