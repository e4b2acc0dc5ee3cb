"""A data set of what an algorithm learns from each group, for a `DataLoader`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rl_distill.algorithms.base import Algorithm
from rl_distill.errors import InputError
from rl_distill.problems.base import checked
from rl_distill.problems.trl_rows import TrlTable
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import Group, Sample


def groups_of(dataset: Any, field: str) -> Sequence[Group]:
    """Groups, from groups or from rows in one of TRL's formats.

    Args:
        dataset: a `datasets.Dataset`, a sequence of rows (mappings), or a sequence of `Group`.
        field: the argument to name in an error.

    Raises:
        InputError: it is empty, or none of these.
    """
    if isinstance(dataset, Mapping):
        raise InputError(field, f"has the splits {', '.join(map(str, dataset))}", "give one of them")
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        remedy = "give rows that can be read by index, such as datasets.Dataset.from_list(list(stream))"
        raise InputError(field, f"{type(dataset).__name__} can only be read in a stream", remedy)
    if len(dataset) == 0:
        raise InputError(field, "the set is empty", "check its split and what it selects")
    return checked(dataset, field) if isinstance(dataset[0], Group) else TrlTable(dataset, field)


class LearnableGroups:
    """The samples of each group that the algorithm learns from, tokenised when they are read.

    Making it reads everything once, so that what is wrong with the data shows before the training.

    Args:
        max_context: the longest sequence of the model.
        max_tokens: leave out groups with a longer attempt; None makes an attempt beyond the context an error.

    Raises:
        InputError: an attempt is longer than the context, or nothing is left.
    """

    def __init__(self, groups: Tokenized, algorithm: Algorithm, *, max_context: int, max_tokens: int | None) -> None:
        self.groups, self.algorithm, self.max_context, self.max_tokens = groups, algorithm, max_context, max_tokens
        self.has_reference = True  # whether every attempt comes with the reference's log-probs
        self.kept = [index for index in range(len(groups)) if self._is_kept(index)]
        self.left_out = len(groups) - len(self.kept)
        if not self.kept:
            raise InputError(
                groups.field,
                f"none of its {len(groups)} groups has what {algorithm.name!r} learns from",
                "sft needs a correct attempt, pairs need a correct and a wrong one; check max_tokens too",
            )

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> list[Sample]:
        return self.algorithm.samples(self.groups[self.kept[index]])

    def _is_kept(self, index: int) -> bool:
        group = self.groups[index]
        samples = self.algorithm.samples(group)
        longest = max((len(sample.trajectory.token_ids) for sample in samples), default=0)
        if not samples or (self.max_tokens is not None and longest > self.max_tokens):
            return False
        if longest > self.max_context:
            raise InputError(
                self.groups.field,
                f"an attempt at problem {group.problem.id!r} has {longest} tokens, more than the model's context of "
                f"{self.max_context}",
                "set max_tokens to leave long groups out, or take a model with a longer context",
            )
        if any(sample.lesson for sample in samples):
            raise InputError("algorithm", f"{self.algorithm.name!r} gives lessons, which no trainer reads yet", "leave them out")
        self.has_reference &= all(sample.trajectory.reference_logprobs is not None for sample in samples)
        return True
