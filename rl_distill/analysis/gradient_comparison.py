"""What every algorithm would do to the same student on the same groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rl_distill.trajectory import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a gradient.

    division, name  by what it is divided, and which part it is: credit imitated, verdict wrong, origin teacher ...
    norm            of the part alone
    share           its projection on the whole, part . whole / |whole|^2: those of a division add up to 1, one below 0 works
                    against the whole; None where there is no gradient
    """

    division: str
    name: str
    norm: float
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmGradient:
    """
    num_samples, num_tokens  that the algorithm took from the groups, and those of them that carry loss
    norm                     of its gradient before clipping; 0 where it took nothing
    credits                  by (group, attempt): -d loss / d log-prob of each token, aligned with `token_ids`: above 0 it becomes
                             more likely, at 0 the loss does not look at it; attempts that are missing were not taken
    """

    name: str
    num_samples: int
    num_tokens: int
    loss: float
    norm: float
    parts: tuple[Part, ...]
    credits: Mapping[tuple[int, int], tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientComparison:
    """
    groups     as they were read, with token ids
    texts      by (group, attempt): each token as text
    cosines    by (row, column) of the names of `algorithms`; None where one has no gradient
    left_out   algorithms that cannot read these groups, and why
    """

    student: str
    groups: Sequence[Group]
    texts: Mapping[tuple[int, int], Sequence[str]]
    algorithms: Mapping[str, AlgorithmGradient]
    cosines: Mapping[tuple[str, str], float | None]
    left_out: Mapping[str, str]
