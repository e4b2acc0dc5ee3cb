"""An endless, shuffled walk over a data set that goes on exactly where a checkpoint left it."""

from collections.abc import Sequence
from random import Random

from rl_distill.seeding import addressed_seed


class Cursor:
    """An endless walk over `count` items, each epoch in an order of its own, which is a function of the seed alone.

    The stage is no part of it: a control takes the data in the order of what it controls, and differs in one switch only.
    """

    def __init__(self, count: int, seed: int, *, shuffle: bool) -> None:
        self.count, self.seed, self.shuffle = count, seed, shuffle
        self.taken = 0
        self._order: tuple[int, Sequence[int]] = (-1, ())

    @property
    def epoch(self) -> int:
        """Which walk over all items the next one belongs to, from 0."""
        return self.taken // self.count

    def __next__(self) -> int:
        return self.at(self.take())[1]

    def take(self) -> int:
        """The place of the next item in the walk."""
        self.taken += 1
        return self.taken - 1

    def at(self, place: int) -> tuple[int, int]:
        """(epoch, item) at a place of the walk."""
        epoch, within = divmod(place, self.count)
        if self._order[0] != epoch:
            order: Sequence[int] = range(self.count)
            if self.shuffle:
                order = list(order)
                Random(addressed_seed(self.seed, "order", epoch)).shuffle(order)
            self._order = (epoch, order)
        return epoch, self._order[1][within]
