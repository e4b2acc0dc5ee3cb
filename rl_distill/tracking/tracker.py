"""Where measurements go: the tracker protocol, and the fan-out that a run holds."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rl_distill.tracking.jsonl_tracker import JsonlTracker

Say = Callable[[str], None]  # takes a line for the user


class Tracker(Protocol):
    """Takes what a run measures. Called from the driver only."""

    def begin(self, stage: str, steps: int | None) -> None:
        """A stage starts or goes on; `steps` is its length, None if something else than a number of steps ends it."""
        ...

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Measurements of one step; `step` counts from 0 within the stage, names are paths of `metric_names.METRICS`.

        Among them is `run/step`, which counts from 0 over the whole run.
        """
        ...

    def alert(self, stage: str, step: int, name: str, text: str) -> None:
        """An alarm has fired at `step` of the stage: its name, and what a person should know and do."""
        ...

    def artifact(self, path: Path, kind: str, name: str) -> None:
        """A file or folder worth keeping, such as a report or the final checkpoint; `kind` groups artifacts of one sort."""
        ...

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Rows for people to read, such as sampled responses with their rewards; `step` is the `run/step` they belong to."""
        ...

    def close(self, failed: bool = False) -> None:
        """Write out everything. `failed` says that the run did not come to its end. Closing twice does no harm."""
        ...


class Trackers:
    """A run's trackers as one; a context manager that closes them, as failed if an exception comes through.

    The record on disk comes first, and what it raises ends the run. Any other tracker that fails is reported once and left out
    from then on: a run outlives its console and its connections, and loses no line of the record.

    Args:
        record: the metrics on disk.
        say: takes the line about a tracker that failed.
    """

    def __init__(self, record: JsonlTracker, say: Say = print) -> None:
        self.record = record
        self._say = say
        self._followers: dict[str, Tracker] = {}

    def add(self, name: str, tracker: Tracker) -> None:
        """Take in another tracker, called by its key in the recipe's `tracking`."""
        self._followers[name] = tracker

    def begin(self, stage: str, steps: int | None) -> None:
        self._tell(lambda tracker: tracker.begin(stage, steps))

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self._tell(lambda tracker: tracker.log(stage, step, metrics))

    def alert(self, stage: str, step: int, name: str, text: str) -> None:
        self._tell(lambda tracker: tracker.alert(stage, step, name, text))

    def artifact(self, path: Path, kind: str, name: str) -> None:
        self._tell(lambda tracker: tracker.artifact(path, kind, name))

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._tell(lambda tracker: tracker.table(step, name, columns, rows))

    def close(self, failed: bool = False) -> None:
        """Closes every tracker, the record last and in any case."""
        try:
            for name in reversed(list(self._followers)):
                self._safely(name, lambda tracker: tracker.close(failed))
        finally:
            self.record.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(failed=error is not None)

    def _tell(self, act: Callable[[Tracker], None]) -> None:
        act(self.record)
        for name in list(self._followers):
            self._safely(name, act)

    def _safely(self, name: str, act: Callable[[Tracker], None]) -> None:
        try:
            act(self._followers[name])
        except Exception as error:  # whatever a library or a service comes up with: it must not end the run
            tracker = self._followers.pop(name)
            what = " ".join(f"{type(error).__name__}: {error}".split())
            self._say(f"warning: tracking.{name} failed ({what}); the run goes on without it, and metrics.jsonl is complete")
            with suppress(Exception):  # that it failed has been said
                tracker.close(failed=True)
