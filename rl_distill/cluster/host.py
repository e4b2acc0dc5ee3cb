"""What gives a stage its learner, engine and scorers, wherever they live."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from rl_distill.cluster.machine import Machine
from rl_distill.learning.learner import Learner, LearnerConfig
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.scorer import Scorer, ScorerConfig
from rl_distill.rollout.engine import Engine

WORKERS = "workers.json"  # in the run folder: the living workers of a cluster
LOGS = "logs"  # in the run folder: what they print
MakeModel = Callable[[], Any]  # a causal language model in float32; called in the process that is to hold it


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerSpec:
    """All that a learner is made of.

    terms          the stage's own algorithm first, then those beside it
    total_steps    optimizer steps of the stage, or None where a token budget ends it
    publish_dtype  of the weights that engines get
    publish_merged  whether adapters are merged into what engines get, since those hold a plain model
    """

    make_model: MakeModel
    tokenizer: Any
    terms: Sequence[LossTerm]
    config: LearnerConfig
    total_steps: int | None
    publish_dtype: torch.dtype
    publish_merged: bool = False


class Host(Protocol):
    """
    machines  that it runs on
    """

    machines: Sequence[Machine]

    def learner(self, spec: LearnerSpec) -> Learner:
        """A learner for one stage. The one before must be closed."""
        ...

    def engine(self, student: str, tokenizer: Any, config: Any, *, name: str) -> Engine:
        """An engine for models like `student`, whose weights it starts with.

        Args:
            student: a folder or hub name.
            name: what trajectories give as their model.
        """
        ...

    def scorer(self, make_model: MakeModel, config: ScorerConfig) -> Scorer:
        """A frozen model that scores attempts."""
        ...

    def close(self, *, failed: bool = False) -> None:
        """Give back everything.

        Args:
            failed: something went wrong: processes are ended and not asked any more.
        """
        ...
