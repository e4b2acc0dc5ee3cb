"""Probes of `arithmetic`: five closed questions about a chain, so that every reply can be checked without a judge.

Some print what they ask about: `undo` shows the result, `why` and `is` show running values. Before the same problem these leak;
ask them about another one where the answer after the dialogue is rewarded.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple

from rl_distill.problems.arithmetic_chain import Chain, expression, in_range, other_start
from rl_distill.problems.arithmetic_teacher import (
    TEACHER_HABITS,
    Attempt,
    Habits,
    Step,
    attempt,
    boxed,
    comparison,
    mistaken_result,
    single_step,
)


class Probe(NamedTuple):
    """A question, its checked answer, and the teacher's reply."""

    kind: str
    question: str
    answer: str
    reply: Attempt


Maker = Callable[[Chain, Habits, Random], Probe | None]  # None: it cannot be asked about this chain


def drawn_probe(
    chain: Chain, habits: Habits, rng: Random, kinds: Sequence[str] = (), makers: Mapping[str, Maker] | None = None
) -> Probe:
    """A probe of one of the kinds (default: any of `makers`), drawn at random.

    Raises:
        ValueError: none of the kinds can be asked about this chain.
    """
    makers = PROBES if makers is None else makers
    for kind in rng.sample(list(kinds or makers), len(kinds or makers)):
        probe = makers[kind](chain, habits, rng)
        if probe is not None:
            return probe
    raise ValueError(f"kinds: none of {list(kinds)} can be asked about {chain.text!r}; allow one more kind")


def drawn_step(chain: Chain, rng: Random) -> tuple[int, int]:
    """Value and operand of one of its steps."""
    position = rng.randrange(len(chain.operands))
    return chain.values[position], chain.operands[position]


def written_step(value: int, operand: int, habits: Habits, rng: Random) -> Step:
    """What a teacher writes behind an operation whose result is in 0..19; a slip never leaves that."""
    own = single_step(value, operand, habits, rng)
    return own if in_range(own.value) else Step(value + operand, None)


def _why(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """Why a step comes out as it does: the units decide."""
    value, operand = drawn_step(chain, rng)
    _, answer = comparison(value, operand, TEACHER_HABITS)
    thought, said = comparison(value, operand, habits)
    question = f"why {expression(value, operand)} = {value + operand} ?"
    return Probe("why", question, answer, Attempt(boxed(thought, said), said, "careful", 0))


def _undo(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """The value before the last operation."""
    back = Chain(chain.result, (-chain.operands[-1],))
    return Probe("undo", undo_question(chain), str(back.result), attempt(back, habits, rng))


def undo_question(chain: Chain) -> str:
    return f"{chain.text} = {chain.result} . undo ?"


def _after(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """The running value after some of the operations."""
    count = rng.randrange(1, len(chain.operands))
    beginning = Chain(chain.start, chain.operands[:count])
    return Probe("after", f"{chain.text} . after {count} ?", str(beginning.result), attempt(beginning, habits, rng))


def _what_if(chain: Chain, habits: Habits, rng: Random) -> Probe | None:
    """The result from another start. The changed chain lies on the same side of the train/held-out line as the chain itself."""
    changed = other_start(chain, rng)
    if changed is None:
        return None
    return Probe("what_if", f"{chain.text} . first = {changed.start} ?", str(changed.result), attempt(changed, habits, rng))


def _is(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """Whether a step is right; the claim is true half of the time."""
    value, operand = drawn_step(chain, rng)
    claim = value + operand if rng.random() < 0.5 else _in_range_mistake(value, operand, rng)
    own = written_step(value, operand, habits, rng)
    answer = "yes" if claim == value + operand else "no"
    said = "yes" if claim == own.value else "no"
    step = expression(value, operand)
    reply = Attempt(boxed(f"{step} = {own.value}", said), said, own.error or "careful", 0)
    return Probe("is", f"is {step} = {claim} ?", answer, reply)


def _in_range_mistake(value: int, operand: int, rng: Random) -> int:
    while not in_range(claim := mistaken_result(value, operand, rng)):
        pass  # ends: a mistake of -1 and one of +1 cannot both leave the range
    return claim


PROBES: dict[str, Maker] = {
    "why": _why,
    "undo": _undo,
    "after": _after,
    "what_if": _what_if,
    "is": _is,
}
