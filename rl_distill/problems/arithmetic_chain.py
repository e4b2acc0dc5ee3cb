"""The number world of `arithmetic`: chains of additions and subtractions on 0..19, and which of them are held out."""

from functools import cache
from random import Random
from typing import NamedTuple

from rl_distill.seeding import addressed_seed

SMALLEST, LARGEST = 0, 19
VALUES = range(SMALLEST, LARGEST + 1)
SIZES = tuple(range(2, 10))  # of the operands that the students of this world are pretrained on
STARTS = range(1, 19)
HELD_OUT_ONE_IN = 5


class Chain(NamedTuple):
    """A start and signed operands: `Chain(15, (-9, 4))` is "15 - 9 + 4"."""

    start: int
    operands: tuple[int, ...]

    @property
    def values(self) -> list[int]:
        """The running values, the start first and the result last."""
        values = [self.start]
        for operand in self.operands:
            values.append(values[-1] + operand)
        return values

    @property
    def result(self) -> int:
        return self.start + sum(self.operands)

    @property
    def needs_carrying(self) -> bool:
        """Whether the result is another one where no step carries or borrows: they do not cancel."""
        tens, units = divmod(self.start, 10)
        for operand in self.operands:
            units = (units + operand) % 10
        return 10 * tens + units != self.result

    @property
    def text(self) -> str:
        return expression(self.start, *self.operands)

    @property
    def is_held_out(self) -> bool:
        """Whether the expression belongs to the held-out fifth: a property of its text, the same in every set and seed."""
        return addressed_seed("arithmetic held out", self.text) % HELD_OUT_ONE_IN == 0


def expression(start: int, *operands: int) -> str:
    """
    Example:
        >>> expression(15, -9, 4)
        '15 - 9 + 4'
    """
    return f"{start}{''.join([_signed_text(operand) for operand in operands])}"


def in_range(value: int) -> bool:
    return SMALLEST <= value <= LARGEST


def is_hard(value: int, operand: int) -> bool:
    """Whether the units carry or borrow."""
    return not 0 <= value % 10 + operand <= 9


def drawn_chain(rng: Random, num_operations: int, sizes: tuple[int, ...] = SIZES) -> Chain:
    """A chain whose running values all stay in 0..19; each operand is uniform over those that keep it there.

    Large sizes alone may leave a value without any: such a chain is begun anew.
    """
    start = value = rng.choice(STARTS)
    operands: list[int] = []
    while len(operands) < num_operations:
        moves = _moves(value, sizes)
        if not moves:
            start = value = rng.choice(STARTS)
            operands = []
            continue
        operands.append(rng.choice(moves))
        value += operands[-1]
    return Chain(start, tuple(operands))


def other_start(chain: Chain, rng: Random) -> Chain | None:
    """The chain from another start, on the same side of the train/held-out line; None where no start keeps it in 0..19."""
    first = rng.randrange(len(STARTS))
    held_out = chain.is_held_out
    for start in (*STARTS[first:], *STARTS[:first]):
        changed = Chain(start, chain.operands)
        if start != chain.start and all(map(in_range, changed.values)) and changed.is_held_out == held_out:
            return changed
    return None


@cache
def _moves(value: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Operands of these sizes that stay in range; additions first."""
    operands = [sign * size for sign in (1, -1) for size in sizes]
    return tuple(operand for operand in operands if in_range(value + operand))


@cache
def _signed_text(operand: int) -> str:
    return f" + {operand}" if operand > 0 else f" - {-operand}"
