"""The samples of one optimizer step, cut into the Trainer's micro-batches and spread over its processes."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from rl_distill.algorithms.base import Algorithm
from rl_distill.batch import Totals, totals
from rl_distill.learning.loss_term import MAIN
from rl_distill.trajectory import Sample

SOURCES = (MAIN,)
MicroBatch = list[Sample]


def with_own_units(groups: Sequence[Sequence[Sample]], address: str) -> MicroBatch:
    """The rows of a micro-batch. Units get their group's place in the step, so that no two groups share one.

    A group can come twice in a step: where one epoch ends and the next begins, and where processes are given equally many.

    Args:
        address: of the micro-batch within the step, over all processes.
    """
    return [
        replace(sample, source=MAIN, unit=f"{address}/{place}/{sample.unit}" if sample.unit else "")
        for place, group in enumerate(groups)
        for sample in group
    ]


def finished(
    algorithm: Algorithm, micro_batches: Sequence[MicroBatch], *, rank: int, gather: Callable[[Any], list[Any]]
) -> list[MicroBatch]:
    """The step's samples after the algorithm's credit that needs the whole step, cut as they were.

    Args:
        gather: a list of one object -> the lists of all processes, one after the other; called only for such algorithms.

    Raises:
        ValueError: the algorithm leaves samples out or moves them, so that it is unclear which process has which.
    """
    if type(algorithm).finish is Algorithm.finish:
        return list(micro_batches)
    shares = gather([[sample for part in micro_batches for sample in part]])
    whole = [sample for share in shares for sample in share]
    credited = algorithm.finish(whole)
    if [sample.trajectory for sample in credited] != [sample.trajectory for sample in whole]:
        raise ValueError(f"finish: {algorithm.name!r} may change the credit of samples, and neither leave any out nor move any")
    start = sum(map(len, shares[:rank]))
    cut = []
    for part in micro_batches:
        cut.append(credited[start : start + len(part)])
        start += len(part)
    return cut


def totals_over(samples: Sequence[Sample], add_up: Callable[[Tensor], Tensor], device: torch.device) -> Totals:
    """The totals of a step that is spread over processes.

    Args:
        samples: this process's share; there may be none.
        add_up: a tensor -> its sum over all processes.
    """
    own = totals(samples, SOURCES)
    names = [field.name for field in fields(Totals)]
    share = torch.stack([getattr(own, name) for name in names]) * bool(samples)  # a share of nothing counts as nothing
    whole = add_up(share.to(device)).clamp(min=1)
    return Totals(**dict(zip(names, whole, strict=True)))
