"""The ten rules of explanatory inversion in the words of `arithmetic`: probes that may come before the problem itself.

Rules and their ids follow arXiv:2603.19266 (as far as it names them). All are closed here. What would print a result or a running
value is asked about a neighbor: the same operands from another start.
"""

import re
from collections.abc import Callable
from random import Random

from rl_distill.problems.arithmetic_chain import SIZES, VALUES, Chain, drawn_chain, expression, in_range, is_hard, other_start
from rl_distill.problems.arithmetic_probes import PROBES, Maker, Probe, drawn_step, written_step
from rl_distill.problems.arithmetic_teacher import TEACHER_HABITS, Attempt, Habits, boxed, comparison


def neighbor(chain: Chain, rng: Random) -> Chain:
    """Another chain on the same side of the train/held-out line: from another start or, where there is none, a new one."""
    changed = other_start(chain, rng)
    while changed is None:
        drawn = drawn_chain(rng, len(chain.operands))
        changed = drawn if drawn != chain and drawn.is_held_out == chain.is_held_out else None
    return changed


def gives_away(text: str, chain: Chain) -> bool:
    """Whether a text states the value of the chain or of a piece of it.

    Example:
        >>> gives_away("is 6 + 4 = 10 ?", Chain(15, (-9, 4, -4)))
        True
    """
    pieces = {
        f"{expression(chain.values[first], *chain.operands[first:last])} = {chain.values[last]}"
        for first in range(len(chain.operands))
        for last in range(first + 1, len(chain.operands) + 1)
    }
    return any(statement in pieces for statement in _STATEMENT.findall(text))


# no statement: "2 - 9 = 14" within "12 - 9 = 14 - 8", whose right side goes on
_STATEMENT = re.compile(r"(?<![\d+-] )\b\d+(?: [+-] \d+)+ = \d+\b(?! [+-])")


def _of_neighbor(maker: Maker) -> Maker:
    return lambda chain, habits, rng: maker(neighbor(chain, rng), habits, rng)


def _why_first(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """Why the first step comes out as it does, without saying how."""
    value, operand = chain.start, chain.operands[0]
    return _compared("wh", f"why {expression(value, operand)} ?", value, operand, habits)


def _process(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """How many of the steps carry, or borrow: the units of each are compared."""
    operand = rng.choice(chain.operands)
    steps = [step for step in zip(chain.values, chain.operands, strict=False) if (step[1] > 0) == (operand > 0)]
    compared = [comparison(*step, habits) for step in steps]
    number = sum(is_hard(*step) for step in steps)
    said = str(sum(kind != "plain" for _, kind in compared))
    reply = Attempt(boxed(" ; ".join(thought for thought, _ in compared), said), said, "careful", 0)
    return Probe("pr", f"{chain.text} . {'carry' if operand > 0 else 'borrow'} ?", str(number), reply)


def _cause(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """What makes a number carry, or borrow: the smallest operand that does; plain if none does."""
    sign = rng.choice((1, -1))
    cause = next((size for size in SIZES if is_hard(chain.start, sign * size)), None)
    thought, kind = comparison(chain.start, sign * (cause or SIZES[-1]), habits)
    said = kind if kind == "plain" else str(cause)
    question = f"{'carry' if sign > 0 else 'borrow'} {chain.start} ?"
    return Probe("ce", question, str(cause or "plain"), Attempt(boxed(thought, said), said, "careful", 0))


def _contrast(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """Whether a step gives more than the same step from another value."""
    value, operand = drawn_step(neighbor(chain, rng), rng)
    starts = [start for start in VALUES if start != value and in_range(start + operand)]
    return _two_steps("cc", (value, operand), ">", (rng.choice(starts), operand), habits, rng)


def _invariance(chain: Chain, habits: Habits, rng: Random) -> Probe:
    """Whether a result survives when one is moved between value and operand; half of the time it is only taken away."""
    value, operand = drawn_step(neighbor(chain, rng), rng)
    moved = [
        (value + shift, operand - shift)
        for shift in (1, -1)
        if in_range(value + shift) and abs(operand - shift) in SIZES and (operand > 0) == (operand - shift > 0)
    ]
    other = rng.choice(moved) if moved else (value, operand)
    if rng.random() < 0.5 or not moved:
        starts = [start for start in VALUES if start != value and in_range(start + operand)]
        other = (min(starts, key=lambda start: abs(start - value)), operand)
    return _two_steps("as", (value, operand), "=", other, habits, rng)


def _two_steps(kind: str, one: tuple[int, int], relation: str, other: tuple[int, int], habits: Habits, rng: Random) -> Probe:
    """Whether the relation (> or =) holds between the results of two steps."""
    holds: Callable[[int, int], bool] = int.__gt__ if relation == ">" else int.__eq__
    own = [written_step(*step, habits, rng) for step in (one, other)]
    said = "yes" if holds(own[0].value, own[1].value) else "no"
    answer = "yes" if holds(sum(one), sum(other)) else "no"
    texts = [expression(*step) for step in (one, other)]
    thought = " ; ".join(f"{text} = {step.value}" for text, step in zip(texts, own, strict=True))
    error = own[0].error or own[1].error
    return Probe(
        kind, f"is {texts[0]} {relation} {texts[1]} ?", answer, Attempt(boxed(thought, said), said, error or "careful", 0)
    )


def _compared(kind: str, question: str, value: int, operand: int, habits: Habits) -> Probe:
    _, answer = comparison(value, operand, TEACHER_HABITS)
    thought, said = comparison(value, operand, habits)
    return Probe(kind, question, answer, Attempt(boxed(thought, said), said, "careful", 0))


INVERSIONS: dict[str, Maker] = {
    "cf": PROBES["what_if"],  # counterfactual: another start
    "ch": _of_neighbor(PROBES["why"]),  # explanatory challenge: why a step comes out as it does
    "de": PROBES["after"],  # decomposition: the value of a sub-question
    "wh": _why_first,  # why-question
    "pr": _process,  # process: what the ordered steps do
    "cc": _contrast,  # compare and contrast with a near miss
    "hy": _of_neighbor(PROBES["is"]),  # hypothesis: a rival result is weighed
    "ce": _cause,  # cause and effect
    "rv": _of_neighbor(PROBES["undo"]),  # inverse: a given from the result
    "as": _invariance,  # assumption: what a result does not depend on
}
