"""The procedural teacher of `arithmetic`: careful one operation at a time, mostly wrong where it merges two.

A negative trace shows a habit that the student shares, so that negatives carry information: positives keep the merging habit
when it was right by luck, only the negatives say which habit fails.
"""

from random import Random
from typing import Literal, NamedTuple

from rl_distill.problems.arithmetic_chain import Chain, expression, in_range, is_hard

Kind = Literal[
    "careful",  # every operation on its own, all right
    "merged_lucky",  # merged and right
    "compensated",  # several errors that cancel
    "corrected",  # a wrong merged step, found by looking again
    "direct",  # the answer without steps
    "merged_dropped",  # a merged step that forgot its second operation
    "merged_near_miss",  # a merged step off by 1, 2 or 10
    "forgotten_carry",
    "forgotten_borrow",
    "slip",  # an easy step off by one
    "miscopied",  # right steps, wrong answer
    "truncated",
]


class Habits(NamedTuple):
    """Probabilities of the ways to work and to go wrong; those of errors are per step, miscopy to direct per attempt."""

    merge: float  # at each position where two operations are left
    merge_error: float
    hard_error: float
    easy_error: float
    miscopy: float
    truncate: float
    direct: float
    check: float = 0.0  # at each merged step: it is looked at again, and done one by one where it was wrong

    @property
    def carries(self) -> bool:
        """Whether hard steps are known to be hard. Who never carries keeps the tens as they are: 7 + 5 = 2, 2 - 9 = 3."""
        return self.hard_error < 1


CORPUS_HABITS = Habits(merge=0.55, merge_error=0.65, hard_error=0.02, easy_error=0.01, miscopy=0.02, truncate=0.03, direct=0.10)
TEACHER_HABITS = Habits(merge=0.50, merge_error=0.60, hard_error=0.01, easy_error=0.01, miscopy=0.03, truncate=0.03, direct=0.0)
REFLECTION = 0.8  # `check` of the reflective teacher, which else has the same habits
DROPPED_SHARE = 0.8  # of the merge errors; the others are near misses
NEAR_MISSES = (-10, -2, -1, 1, 2, 10)


class Attempt(NamedTuple):
    """A reply. `answer` is the boxed text (None: it never came to one), `kind` the first error or, without one, the manner."""

    text: str
    answer: str | None
    kind: Kind
    num_merges: int


class Step(NamedTuple):
    """The value written behind one operation, and the error made."""

    value: int
    error: Kind | None


def attempt(chain: Chain, habits: Habits, rng: Random) -> Attempt:
    """One reply to "what is the result of this chain", with the given habits; drawn again while it leaves 0..19."""
    if rng.random() < habits.direct:
        return Attempt(boxed("", str(chain.result)), str(chain.result), "direct", 0)
    while (drawn := _drawn_steps(chain, habits, rng)) is None:
        pass  # ends: the careful way never leaves the range
    steps, merges, error, value = drawn
    if rng.random() < habits.truncate:
        kept = rng.randint(1, max(1, len(steps) - 1))
        return Attempt(f"<think> {' ; '.join(steps[:kept])}", None, "truncated", sum(merges[:kept]))
    if rng.random() < habits.miscopy:
        value = rng.choice([near for near in (value - 1, value + 1) if in_range(near)])
        error = "miscopied" if error in (None, "corrected") else error
    text = boxed(" ; ".join(steps), str(value))
    return Attempt(text, str(value), _kind(error, any(merges), value == chain.result), sum(merges))


def boxed(thought: str, answer: str) -> str:
    """
    Example:
        >>> boxed("15 - 9 = 6", "6")
        '<think> 15 - 9 = 6 </think> \\\\boxed{6}'
    """
    return f"<think> {thought} </think> \\boxed{{{answer}}}" if thought else f"<think> </think> \\boxed{{{answer}}}"


def single_step(value: int, operand: int, habits: Habits, rng: Random) -> Step:
    """The value that the teacher writes behind one operation, and the error it made."""
    hard = is_hard(value, operand)
    if rng.random() >= (habits.hard_error if hard else habits.easy_error):
        return Step(value + operand, None)
    error: Kind = "slip" if not hard else "forgotten_carry" if operand > 0 else "forgotten_borrow"
    return Step(mistaken_result(value, operand, rng), error)


def comparison(value: int, operand: int, habits: Habits) -> tuple[str, str]:
    """What decides whether the units carry or borrow, and what they do; who never carries sees neither.

    Example:
        >>> comparison(15, -9, TEACHER_HABITS)
        ('5 < 9', 'borrow')
    """
    units, size, hard = value % 10, abs(operand), is_hard(value, operand) and habits.carries
    if operand > 0:
        return (f"{units} + {size} > 9", "carry") if hard else (f"{units} + {size} < 10", "plain")
    sign = "<" if hard else "=" if units == size else ">"
    return f"{units} {sign} {size}", "borrow" if hard else "plain"


def mistaken_result(value: int, operand: int, rng: Random) -> int:
    """A wrong result of one operation: a hard one off by ten, an easy one off by one (this may leave 0..19)."""
    if is_hard(value, operand):
        return value + operand + (-10 if operand > 0 else 10)
    return value + operand + rng.choice((-1, 1))


def _drawn_steps(chain: Chain, habits: Habits, rng: Random) -> tuple[list[str], list[bool], Kind | None, int] | None:
    """Texts of the steps, which of them are merged, the first error, the last value; None where a value leaves 0..19."""
    value, position = chain.start, 0
    steps: list[str] = []
    merges: list[bool] = []
    errors: list[Kind] = []
    while position < len(chain.operands):
        merged = position + 1 < len(chain.operands) and rng.random() < habits.merge
        used = chain.operands[position : position + 1 + merged]
        if habits.carries and not (in_range(value + used[0]) and in_range(value + sum(used))):
            return None
        step = _merged_step(value, used, habits, rng) if merged else single_step(value, used[0], habits, rng)
        if not in_range(step.value):
            return None
        steps.append(f"{expression(value, *used)} = {step.value}")
        merges.append(merged)
        if merged and habits.check and rng.random() < habits.check:  # who never checks draws no number for it
            step, texts = _looked_again(value, used, step, habits, rng)
            steps += texts
            merges += [False] * len(texts)
            if not in_range(step.value):
                return None
        errors += [step.error] if step.error else []
        value, position = step.value, position + len(used)
    corrected: Kind | None = "corrected" if "corrected" in errors else None
    return steps, merges, next((error for error in errors if error != "corrected"), corrected), value


def _looked_again(value: int, operands: tuple[int, ...], merged: Step, habits: Habits, rng: Random) -> tuple[Step, list[str]]:
    """What is held after a merged step was questioned, and the texts: `is 6 ? yes`, or `is 6 ? no` and the steps one by one."""
    if merged.error is None:
        return merged, [f"is {merged.value} ? yes"]
    texts = [f"is {merged.value} ? no"]
    error: Kind | None = None
    for operand in operands:
        step = single_step(value, operand, habits, rng)
        texts.append(f"{expression(value, operand)} = {step.value}")
        value, error = step.value, error or step.error
        if not in_range(value):
            break  # the whole attempt is drawn again
    return Step(value, error or "corrected"), texts


def _merged_step(value: int, operands: tuple[int, ...], habits: Habits, rng: Random) -> Step:
    if rng.random() >= habits.merge_error:
        return Step(value + sum(operands), None)
    if rng.random() < DROPPED_SHARE:
        return Step(value + operands[0], "merged_dropped")
    return Step(value + sum(operands) + rng.choice(NEAR_MISSES), "merged_near_miss")


def _kind(error: Kind | None, merged: bool, correct: bool) -> Kind:
    if error == "corrected":
        return error
    if error is not None:
        return "compensated" if correct else error
    return "merged_lucky" if merged else "careful"
