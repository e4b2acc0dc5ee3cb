"""One optimizer step over micro-batches and processes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

pytest.importorskip("accelerate", reason="accelerate is in the trl extra")

from trl_door import Whitened

from rl_distill.algorithms import Redi
from rl_distill.batch import totals
from rl_distill.integrations.optimizer_step import SOURCES, finished, totals_over, with_own_units
from rl_distill.trajectory import Sample, Trajectory


def sample(name: str, length: int = 2, advantage: float = 0.0, unit: str = "") -> Sample:
    sampled = (False, *(True,) * length)
    attempt = Trajectory(
        problem_id=name, messages=(), token_ids=(1,) * len(sampled), sampled=sampled, model="m", origin="teacher"
    )
    return Sample(trajectory=attempt, advantage=advantage, unit=unit)


PAIR = [sample("p", 3, unit="p"), sample("p", 1, unit="p")]
CPU = torch.device("cpu")


def test_a_pair_that_comes_twice_is_two_units() -> None:
    rows = [*with_own_units([PAIR, PAIR], "0/0"), *with_own_units([PAIR], "0/1"), *with_own_units([PAIR], "1/0")]
    assert len({row.unit for row in rows}) == 4
    assert totals(rows, SOURCES).units.item() == 4
    assert [row.unit for row in with_own_units([[sample("a")]], "0/0")] == [""]


def test_the_totals_of_two_processes_are_those_of_one() -> None:
    shares = [with_own_units([PAIR, [sample("a", 5)]], "0/0"), with_own_units([PAIR], "1/0")]
    own = [totals_over(share, lambda x: x, CPU) for share in shares]
    one = totals_over([row for share in shares for row in share], lambda x: x, CPU)
    two = totals_over(shares[0], lambda x: x + torch.stack([own[1].tokens, own[1].sequences, own[1].units, torch.zeros(1)]), CPU)
    assert (one.tokens, one.sequences, one.units) == (13, 5, 3) == (two.tokens, two.sequences, two.units)


def test_a_process_without_a_sample_adds_nothing() -> None:
    two = totals_over([], lambda x: x + 7, CPU)
    assert (two.tokens, two.sequences, two.units) == (7, 7, 7)


def test_credit_over_the_step_is_given_once_and_each_process_keeps_its_rows() -> None:
    rows = [sample(str(index), advantage=float(index)) for index in range(5)]
    shares = [rows[:2], rows[2:]]
    parts = finished(Whitened(), [rows[2:3], rows[3:]], rank=1, gather=lambda own: shares)
    assert [[row.advantage for row in part] for part in parts] == [[0.0], [1.0, 2.0]]


def test_an_algorithm_without_such_credit_asks_no_other_process() -> None:
    def gather(own: list[Any]) -> list[Any]:
        raise AssertionError("nothing to gather")

    assert finished(Redi(), [PAIR], rank=0, gather=gather) == [PAIR]


def test_samples_that_are_moved_are_refused() -> None:
    class Reversed(Whitened):
        def finish(self, samples: Sequence[Sample]) -> list[Sample]:
            return [replace(one, advantage=1.0) for one in reversed(samples)]

    with pytest.raises(ValueError, match="neither leave any out nor move any"):
        finished(Reversed(), [[sample("a"), sample("b")]], rank=0, gather=lambda own: own)
