"""How a gradient is divided: by what credit does, by verdicts, by who made the attempts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from rl_distill.analysis.gradient_learner import Selection, Slopes
from rl_distill.trajectory import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Parts that no slope is in two of, and every slope in one: they add up to the gradient."""

    name: str
    parts: dict[str, Selection]


def divisions(samples: Sequence[Sample]) -> list[Division]:
    """By the sign of credit, by verdict, by origin, with the parts that these samples have."""
    return [
        Division(name="credit", parts={"imitated": _imitated, "avoided": _avoided}),
        Division(name="verdict", parts=_by(_verdict, samples)),
        Division(name="origin", parts=_by(_origin, samples)),
    ]


def _imitated(slopes: Slopes, samples: Sequence[Sample]) -> Slopes:
    return tuple(one.clamp(max=0) for one in slopes)


def _avoided(slopes: Slopes, samples: Sequence[Sample]) -> Slopes:
    return tuple(one.clamp(min=0) for one in slopes)


def _verdict(sample: Sample) -> str:
    return sample.trajectory.status or "unverified"


def _origin(sample: Sample) -> str:
    return sample.trajectory.origin


def _by(key: Callable[[Sample], str], samples: Sequence[Sample]) -> dict[str, Selection]:
    return {name: partial(_rows, key, name) for name in sorted({key(sample) for sample in samples})}


def _rows(key: Callable[[Sample], str], name: str, slopes: Slopes, samples: Sequence[Sample]) -> Slopes:
    kept = torch.tensor([key(sample) == name for sample in samples], device=slopes[0].device)
    return tuple(one * kept.view(-1, *[1] * (one.dim() - 1)) for one in slopes)
