"""An optimizer step laid out over processes: who runs which samples, and how many passes all of them make.

Everything here is a function of the step's samples, so that whoever computes it finds the same plan.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rl_distill.algorithms.base import Algorithm
from rl_distill.batch import Totals, source_names, totals
from rl_distill.learning.cutting import cut
from rl_distill.learning.loss_term import LossTerm
from rl_distill.trajectory import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class TermShare:
    """What one process runs of one term of the loss.

    samples  this process's; none where there are fewer units than processes
    sources, counts  of the whole term, over all processes
    passes   with a backward pass that every process makes, one at least: sharded gradients are reduced inside them
    still_passes  without one, for the samples that cannot move the policy
    filler   a unit that is run without weight until these numbers are reached
    """

    term: LossTerm
    samples: Sequence[Sample]
    sources: tuple[str, ...]
    counts: Totals
    passes: int
    still_passes: int
    filler: Sequence[Sample]


def plan_step(
    samples: Sequence[Sample], terms: Sequence[LossTerm], *, num_processes: int, max_tokens: int
) -> list[tuple[TermShare, ...]]:
    """The shares of each process, those of the terms that have samples, in the order of the terms.

    Args:
        max_tokens: padded tokens of one forward pass.

    Raises:
        ValueError: there is no sample, or one of a source that no term learns from.
    """
    by_term = [(term, [sample for sample in samples if sample.source == term.source]) for term in terms]
    if not samples or sum(len(share) for _, share in by_term) != len(samples):
        known = ", ".join(repr(term.source) for term in terms)
        raise ValueError(f"source: a step has samples, and each comes from one of {known}")
    plan: list[list[TermShare]] = [[] for _ in range(num_processes)]
    for term, of_term in by_term:
        if not of_term:
            continue
        sources = source_names(of_term)
        counts = totals(of_term, sources)
        shares, still_shares = (divide(part, num_processes) for part in parted(term.algorithm, of_term))
        passes, still_passes = (
            max(sum(1 for _ in split(share, max_tokens)) for share in of_part) for of_part in (shares, still_shares)
        )
        filler = min(units_of(of_term), key=_width)
        for process, share, still in zip(plan, shares, still_shares, strict=True):
            made = TermShare(
                term=term,
                samples=[*share, *still],
                sources=sources,
                counts=counts,
                passes=max(1, passes),
                still_passes=still_passes,
                filler=filler,
            )
            process.append(made)
    return [tuple(process) for process in plan]


def parted(algorithm: Algorithm, samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Samples of units that can move the policy, and of those that cannot; each in order."""
    parts: tuple[list[Sample], list[Sample]] = ([], [])
    for unit in units_of(samples):
        parts[not any(algorithm.moves(sample) for sample in unit)].extend(unit)
    return parts


def divide(samples: Sequence[Sample], count: int) -> list[list[Sample]]:
    """Whole units to `count` processes, about equally many tokens to each; within a process in the order of the samples."""
    if count == 1:
        return [list(samples)]
    units = units_of(samples)
    load, owner = [0] * count, [0] * len(units)
    for place in sorted(range(len(units)), key=lambda place: _tokens(units[place]), reverse=True):
        owner[place] = min(range(count), key=load.__getitem__)
        load[owner[place]] += _tokens(units[place])
    return [
        [sample for place, unit in enumerate(units) if owner[place] == process for sample in unit] for process in range(count)
    ]


def split(samples: Sequence[Sample], max_tokens: int) -> Iterator[list[Sample]]:
    """Cut a step into micro-batches of at most `max_tokens` padded tokens, keeping the rows of a unit together.

    Units are taken longest first, so that rows of like length meet and a step that does not fit in memory fails at once. A unit
    larger than the budget makes a micro-batch of its own. The cuts are a function of the samples alone.
    """
    units = sorted(units_of(samples), key=_width, reverse=True)
    for part in cut([_width(unit) for unit in units], [len(unit) for unit in units], max_tokens):
        yield [sample for unit in units[part] for sample in unit]


def units_of(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples by unit, in order; a row without a unit is one of its own."""
    units: dict[object, list[Sample]] = {}
    for index, sample in enumerate(samples):
        units.setdefault(sample.unit or index, []).append(sample)
    return list(units.values())


def _width(samples: Sequence[Sample]) -> int:
    return max(len(sample.trajectory.token_ids) for sample in samples)


def _tokens(samples: Sequence[Sample]) -> int:
    return sum(len(sample.trajectory.token_ids) for sample in samples)
