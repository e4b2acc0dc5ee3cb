"""Where measurements go: the tracker protocol, and the fan-out that a run holds."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from rl_distill.tracking.jsonl_tracker import JsonlTracker


class Tracker(Protocol):
    """Takes what a run measures. Called from the driver only."""

    def begin(self, stage: str, steps: int | None) -> None:
        """A stage starts or goes on; `steps` is its length, None if something else than a number of steps ends it."""
        ...

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Measurements of one step; `step` counts from 0 within the stage, names are paths of `metric_names.METRICS`."""
        ...

    def artifact(self, path: Path, kind: str, name: str) -> None:
        """A file or folder worth keeping, such as a report or the final checkpoint; `kind` groups artifacts of one sort."""
        ...

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Rows for people to read, such as sampled responses with their rewards."""
        ...

    def close(self) -> None:
        """Write out everything. Nothing is logged afterwards; closing twice does no harm."""
        ...


class Trackers:
    """A run's trackers as one. The record on disk comes first, so that it is complete whatever happens to the others."""

    def __init__(self, record: JsonlTracker, *others: Tracker) -> None:
        self.record = record
        self._all: list[Tracker] = [record, *others]

    def add(self, tracker: Tracker) -> None:
        self._all.append(tracker)

    def begin(self, stage: str, steps: int | None) -> None:
        for tracker in self._all:
            tracker.begin(stage, steps)

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        for tracker in self._all:
            tracker.log(stage, step, metrics)

    def artifact(self, path: Path, kind: str, name: str) -> None:
        for tracker in self._all:
            tracker.artifact(path, kind, name)

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        for tracker in self._all:
            tracker.table(step, name, columns, rows)

    def close(self) -> None:
        """Closes every tracker, also when one of them fails; the failure is raised afterwards."""
        with ExitStack() as stack:
            for tracker in reversed(self._all):
                stack.callback(tracker.close)
