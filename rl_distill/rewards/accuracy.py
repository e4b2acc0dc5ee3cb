"""Is the answer right? Three-valued, from cheap checks to dear ones, the dear one in processes that can be killed."""

import threading
from collections.abc import Sequence
from typing import ClassVar, Literal, TypeGuard

from rl_distill.config import config, setting
from rl_distill.rewards import answers
from rl_distill.rewards.base import Attempt, Verifier, with_ending
from rl_distill.rewards.deadline_pool import Workers, run_all
from rl_distill.trajectory import Problem, Verdict

MAX_KNOWN = 100_000
_known: dict[tuple[str, str], Verdict] = {}  # what math-verify found for (gold, answer); failures are never kept
_known_lock = threading.Lock()

_ROUNDING = 1e-5  # math-verify compares decimals rounded to 6 places: only a larger difference is decided here


@config
class Accuracy(Verifier):
    r"""Compares the boxed answer with the gold one; the first step that can tell decides and is the verdict's `method`.

    | method | status | when |
    |---|---|---|
    | `no_gold` | unverifiable | nobody knows the answer |
    | `generation_error` | unverifiable | sampling failed: there is no attempt |
    | `truncated` | wrong | no boxed answer, and the token limit cut the response |
    | `no_boxed` | wrong | no complete `\boxed{...}`: a stray number in the text earns nothing |
    | `exact` | correct | the same text up to typesetting |
    | `number` | correct, wrong | both are plain integers or decimals |
    | `too_long` | wrong | longer than any answer, so that nothing has to parse it |
    | `math_verify` | correct, wrong | symbolic comparison; an answer that cannot be parsed is wrong |
    | `gold_unparsable`, `timeout`, `worker_died`, `verifier_error` | unverifiable | the comparison could not be made |

    Digits of any script count as ASCII ones, in both. An unverifiable attempt has no reward (None), never 0.
    """

    evidence: ClassVar[str] = "gold answer"
    states_answers: ClassVar[bool] = True

    name: Literal["accuracy"] = "accuracy"
    deadline: float = setting(5.0, about="time for one symbolic comparison", unit="seconds", gt=0, le=3600)
    workers: int = setting(2, about="processes that compare symbolically", ge=1)
    max_answer_chars: int = setting(
        1000, about="a boxed text longer than this, and than twice the gold, is wrong", unit="characters", ge=1
    )

    def can_judge(self, problem: Problem) -> bool:
        return _is_known(problem.answer)

    def verdicts(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        graded = self.grade([(problem.answer, trajectory.response) for problem, trajectory in attempts])
        endings = [trajectory.finish_reason for _, trajectory in attempts]
        return [with_ending(verdict, ending, "no_boxed") for verdict, ending in zip(graded, endings, strict=True)]

    def stated_answer(self, response: str) -> str | None:
        answer = answers.boxed_answer(response)
        if answer is None or len(answer) > self.max_answer_chars:
            return answer
        number = answers.decimal(answer)
        if number is None:
            return answers.normalized(answer)
        return f"{number[0].normalize():f}{'%' if number[1] else ''}"

    def grade(self, pairs: Sequence[tuple[str | None, str]]) -> list[Verdict]:
        """The verdict for each pair of a gold answer and a response, in order."""
        found: list[Verdict | tuple[str, str]] = [self._cheap(gold, response) for gold, response in pairs]
        asked = self._compared([item for item in found if not isinstance(item, Verdict)])
        return [item if isinstance(item, Verdict) else asked[item] for item in found]

    def _cheap(self, gold: str | None, response: str) -> Verdict | tuple[str, str]:
        """A verdict, or what has to be compared symbolically: (gold, answer)."""
        if not _is_known(gold):
            return Verdict(status="unverifiable", method="no_gold")
        answer = answers.boxed_answer(response)
        if answer is None:
            return Verdict(status="wrong", method="no_boxed")
        gold = answers.plain(gold)
        longest = max(self.max_answer_chars, 2 * len(gold))
        if len(answer) > longest:
            return Verdict(status="wrong", method="too_long", detail=f"{len(answer)} characters")
        answer = answers.ascii_digits(answer)
        if answer == gold:
            return Verdict(status="correct", method="exact")
        return _by_number(gold, answer) or _by_spelling(gold, answer) or (gold, answer)

    def _compared(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        """Symbolic comparison of pairs (gold, answer), each distinct one once."""
        with _known_lock:
            asked = {pair: _known[pair] for pair in pairs if pair in _known}
        new = [pair for pair in dict.fromkeys(pairs) if pair not in asked]
        if not new:
            return asked
        workers = Workers(count=self.workers, ready="rl_distill.rewards.symbolic_ready")
        outcomes = run_all(math_verified, new, deadline=self.deadline, workers=workers)
        for pair, outcome in zip(new, outcomes, strict=True):
            if outcome.failure is None:
                asked[pair] = Verdict(status=outcome.value[0], method=outcome.value[1])
                _remember(pair, asked[pair])
            else:
                method = "verifier_error" if outcome.failure == "error" else outcome.failure
                asked[pair] = Verdict(status="unverifiable", method=method, detail=outcome.detail)
        return asked


def _is_known(gold: str | None) -> TypeGuard[str]:
    return gold is not None and gold.strip() != ""


def _by_number(gold: str, answer: str) -> Verdict | None:
    """Decides between two plain numbers; None leaves it to the symbolic comparison, as when only one is a percentage."""
    parsed_gold, parsed_answer = answers.decimal(gold), answers.decimal(answer)
    if parsed_gold is None or parsed_answer is None or parsed_gold[1] != parsed_answer[1]:
        return None
    wanted, given = parsed_gold[0], parsed_answer[0]
    if wanted == given:
        return Verdict(status="correct", method="number")
    both_whole = wanted == wanted.to_integral_value() and given == given.to_integral_value()
    if both_whole or abs(wanted - given) > _ROUNDING:
        return Verdict(status="wrong", method="number")
    return None


def _by_spelling(gold: str, answer: str) -> Verdict | None:
    spelling = answers.normalized(answer)
    return Verdict(status="correct", method="exact") if spelling and spelling == answers.normalized(gold) else None


def _remember(pair: tuple[str, str], verdict: Verdict) -> None:
    with _known_lock:
        while len(_known) >= MAX_KNOWN:
            del _known[next(iter(_known))]
        _known[pair] = verdict


def math_verified(gold: str, answer: str) -> tuple[str, str]:
    """Runs in a worker process: (status, method). The library's timers, which need a main thread, are off."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    wanted = parse(rf"\boxed{{{gold}}}", fallback_mode="no_fallback", parsing_timeout=None)
    if not wanted:
        return "unverifiable", "gold_unparsable"
    # "Malformed" operators are what TeX accepts and gold answers contain: \frac12, \sqrt3.
    spelling = NormalizationConfig(basic_latex=True, units=True, malformed_operators=True, nits=False, boxed="last")
    boxed = LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False, normalization_config=spelling)
    given = parse(rf"\boxed{{{answer}}}", [boxed], extraction_mode="first_match", parsing_timeout=None)
    # The comparison is not symmetric: the gold answer comes first.
    right = verify(wanted, given, timeout_seconds=None, raise_on_error=True)
    return ("correct" if right else "wrong"), "math_verify"
