"""Probes of `arithmetic`: five closed questions about a chain, so that every reply can be checked without a judge.

Some print what they ask about: `undo` shows the result, `why` and `is` show running values. Before the same problem these leak;
ask them about another one where the answer after the dialogue is rewarded.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from rl_distill.problems.arithmetic_chain import STARTS, Chain, expression, in_range, is_hard
from rl_distill.problems.arithmetic_teacher import Attempt, Habits, attempt, boxed, mistaken_result, single_step


class Probe(NamedTuple):
    """A question, its checked answer, and the teacher's reply."""

    kind: str
    question: str
    answer: str
    reply: Attempt


def drawn_probe(chain: Chain, habits: Habits, rng: Random, kinds: Sequence[str] = ()) -> Probe:
    """A probe of one of the kinds (default: any), drawn at random. Only `what_if` may be impossible for a chain.

    Raises:
        ValueError: none of the kinds can be asked about this chain.
    """
    for kind in rng.sample(list(kinds or PROBES), len(kinds or PROBES)):
        probe = PROBES[kind](chain, habits, rng)
        if probe is not None:
            return probe
    raise ValueError(f"kinds: none of {list(kinds)} can be asked about {chain.text!r}; allow one more kind")


def _why(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """Why a step comes out as it does: the units decide."""
    value, operand = _drawn_step(chain, rng)
    units, size = value % 10, abs(operand)
    if operand > 0:
        thought = f"{units} + {size} {'>' if is_hard(value, operand) else '<'} {9 if is_hard(value, operand) else 10}"
    else:
        thought = f"{units} {'<' if units < size else '>' if units > size else '='} {size}"
    answer = "plain" if not is_hard(value, operand) else "carry" if operand > 0 else "borrow"
    question = f"why {expression(value, operand)} = {value + operand} ?"
    return Probe("why", question, answer, Attempt(boxed(thought, answer), answer, "careful", 0))


def _undo(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """The value before the last operation."""
    back = Chain(chain.result, (-chain.operands[-1],))
    return Probe("undo", f"{chain.text} = {chain.result} . undo ?", str(back.result), attempt(back, habits, rng))


def _after(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """The running value after some of the operations."""
    count = rng.randrange(1, len(chain.operands))
    beginning = Chain(chain.start, chain.operands[:count])
    return Probe("after", f"{chain.text} . after {count} ?", str(beginning.result), attempt(beginning, habits, rng))


def _what_if(chain: Chain, habits: Habits, rng: Random) -> Probe | None:
    """The result from another start. The changed chain lies on the same side of the train/held-out line as the chain itself."""
    first = rng.randrange(len(STARTS))
    held_out = chain.is_held_out
    for start in (*STARTS[first:], *STARTS[:first]):
        changed = Chain(start, chain.operands)
        if start != chain.start and all(map(in_range, changed.values)) and changed.is_held_out == held_out:
            return Probe("what_if", f"{chain.text} . first = {start} ?", str(changed.result), attempt(changed, habits, rng))
    return None


def _is(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """Whether a step is right; the claim is true half of the time."""
    value, operand = _drawn_step(chain, rng)
    claim = value + operand if rng.random() < 0.5 else _in_range_mistake(value, operand, rng)
    own = single_step(value, operand, habits, rng)
    if not in_range(own.value):
        own = own._replace(value=value + operand, error=None)
    answer = "yes" if claim == value + operand else "no"
    said = "yes" if claim == own.value else "no"
    step = expression(value, operand)
    reply = Attempt(boxed(f"{step} = {own.value}", said), said, own.error or "careful", 0)
    return Probe("is", f"is {step} = {claim} ?", answer, reply)


def _drawn_step(chain: Chain, rng: Random) -> tuple[int, int]:
    position = rng.randrange(len(chain.operands))
    return chain.values[position], chain.operands[position]


def _in_range_mistake(value: int, operand: int, rng: Random) -> int:
    while not in_range(claim := mistaken_result(value, operand, rng)):
        pass  # ends: a mistake of -1 and one of +1 cannot both leave the range
    return claim


PROBES: dict[str, Callable[[Chain, Habits, Random], Probe | None]] = {
    "why": _why,
    "undo": _undo,
    "after": _after,
    "what_if": _what_if,
    "is": _is,
}
