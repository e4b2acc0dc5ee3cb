"""What a stage learns from: the protocol, and the table of sources."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rl_distill.config import one_of
from rl_distill.training.dataset_source import DatasetSourceConfig
from rl_distill.training.rollout_source import RolloutSourceConfig
from rl_distill.training.work_counts import WorkCounts
from rl_distill.trajectory import Group


class Source(Protocol):
    live: bool  # does it sample from the student?
    generated_tokens: int  # sampled for the last `next`, also by what nothing is learnt from
    work: WorkCounts  # that sampling it was

    def next(self, step: int) -> list[Group]:
        """The groups of one step."""
        ...

    @property
    def schedule(self) -> Sequence[Mapping[str, Any]]:
        """How the last step's attempts were sampled: a line for each shard; none where nothing was."""
        ...

    def report(self) -> Mapping[str, float]:
        """Metrics about the groups of the last step."""
        ...

    def refresh(self, version: int) -> None:
        """The engine holds new weights."""
        ...

    def state(self) -> dict[str, Any]:
        """What `load_state` needs to go on from here (JSON)."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


SOURCES: dict[str, type] = {"dataset": DatasetSourceConfig, "rollout": RolloutSourceConfig}

if TYPE_CHECKING:
    AnySource = DatasetSourceConfig | RolloutSourceConfig
else:
    AnySource = one_of(SOURCES)
