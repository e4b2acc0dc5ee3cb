"""What a person sees while a run goes on: a live bar on a terminal, now and then a plain line elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

ConsoleMode = Literal["auto", "plain"]

PLAIN_SECONDS = 10.0  # between two plain lines of one stage
BAR_WIDTH = 20
REDRAW_SECONDS = 0.1  # between two drawings of the bar: steps may be much faster than an eye
_SHOWN = {  # metric path -> label; those that a step has are shown, in this order
    "loss": "loss",
    "reward/mean": "reward",
    "logprob/chosen": "chosen",
    "logprob/margin": "margin",
    "rollout/correct_fraction": "accuracy",
    "preference/accuracy": "preference",
    "evaluation/accuracy": "evaluation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progression:
    """Where a step stands: `done` of `steps` of stage number `index` (from 1) of `num_stages`; `eta` is the rest of the stage.

    `steps` is None for a stage whose length nobody knows beforehand; it has no `eta` then.
    """

    stage: str
    index: int
    num_stages: int
    done: int
    steps: int | None
    eta: timedelta | None

    @property
    def ends(self) -> bool:
        return self.steps is not None and self.done >= self.steps


class Display(Protocol):
    """One way to show progress on a stream."""

    def show(self, at: Progression, metrics: Mapping[str, float]) -> None: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def close(self) -> None: ...


class ConsoleTracker:
    """Stage i of n, step, time left and the metrics that tell whether learning works.

    Args:
        stages: how many steps each stage has, in order (None: it ends by something else).
        mode: "auto" draws a live bar on a terminal; "plain" never does.
        stream: where to write; standard output unless given.
        clock: seconds that only grow.

    A reader that goes away (a closed pipe, a lost terminal) ends the display, never the run: `metrics.jsonl` is the record.
    """

    def __init__(
        self,
        stages: Mapping[str, int | None],
        mode: ConsoleMode = "auto",
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages, self._clock = dict(stages), clock
        self._stream = stream or sys.stdout
        live = _is_live(mode, self._stream)
        self._display: Display | None = LiveDisplay(self._stream, clock) if live else PlainDisplay(self._stream, clock)
        self._pace = _Pace()

    def begin(self, stage: str, steps: int | None) -> None:
        self._stages[stage] = steps

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        if stage not in self._stages:
            raise ValueError(f"stage {stage!r} is not among the announced {list(self._stages)}; announce it when the run starts")
        steps = self._stages[stage]
        done = step + 1
        seconds = self._pace.per_step(stage, done, self._clock())
        at = Progression(
            stage=stage,
            index=list(self._stages).index(stage) + 1,
            num_stages=len(self._stages),
            done=done,
            steps=steps,
            eta=None if seconds is None or steps is None else timedelta(seconds=round(seconds * max(0, steps - done))),
        )
        self._on_display(lambda display: display.show(at, metrics))

    def alert(self, stage: str, step: int, name: str, text: str) -> None:
        self._on_display(lambda display: display.warn(f"warning: {stage}, step {step + 1}: {name}: {text}"))

    def artifact(self, path: Path, kind: str, name: str) -> None:
        self._on_display(lambda display: display.say(f"{kind}: {path}"))

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Nothing to do: tables are too wide for a terminal."""

    def close(self, failed: bool = False) -> None:
        self._on_display(lambda display: display.close())
        self._display = None

    def _on_display(self, act: Callable[[Display], None]) -> None:
        if self._display is None:
            return
        try:
            act(self._display)
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) and not self._stream.closed:
                raise
            self._display = None
            _point_at_nothing(self._stream)


class LiveDisplay:
    """A bar for each stage, redrawn in place. Without a thread, so that it is safe in a process that forks."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=BAR_WIDTH), TextColumn("{task.fields[text]}"))
        self._progress = Progress(*columns, console=_QuietConsole(file=stream), auto_refresh=False)
        self._tasks: dict[str, TaskID] = {}
        self._title_width = 0
        self._clock, self._drawn = clock, -REDRAW_SECONDS

    def show(self, at: Progression, metrics: Mapping[str, float]) -> None:
        self._progress.start()
        if at.stage not in self._tasks:
            title = f"[{at.index}/{at.num_stages}] {at.stage}"
            self._title_width = max(self._title_width, len(title))
            self._tasks[at.stage] = self._progress.add_task(title.replace("[", r"\["), total=at.steps, text="")
        room = self._progress.console.width - self._title_width - BAR_WIDTH - 2  # rich would cut the name of the stage first
        text = _fitting(_parts(at, metrics), room).replace("[", r"\[")
        self._progress.update(self._tasks[at.stage], completed=at.done, text=text)
        now = self._clock()
        if at.ends or now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            self._progress.refresh()

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, style="bold yellow")

    def close(self) -> None:
        self._progress.stop()


class PlainDisplay:
    """Lines: the first and the last step of a stage, every evaluation, and between them one every `PLAIN_SECONDS`."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream, self._clock = stream, clock
        self._last: tuple[str, float] | None = None  # stage and time of the last line

    def show(self, at: Progression, metrics: Mapping[str, float]) -> None:
        now = self._clock()
        due = self._last is None or self._last[0] != at.stage or now - self._last[1] >= PLAIN_SECONDS
        if due or at.ends or any(name.startswith("evaluation/") for name in metrics):
            self._last = (at.stage, now)
            self.say("  ".join([f"[{at.index}/{at.num_stages}] {at.stage}", *_parts(at, metrics)]))

    def say(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def warn(self, text: str) -> None:
        self.say(text)

    def close(self) -> None:
        self._stream.flush()


class _Pace:
    """Seconds for each step of the present stage, over the steps that this process saw (a resumed run has skipped the others)."""

    def __init__(self) -> None:
        self._stage, self._first, self._since = "", 0, 0.0

    def per_step(self, stage: str, done: int, now: float) -> float | None:
        if stage != self._stage:
            self._stage, self._first, self._since = stage, done, now
        return (now - self._since) / (done - self._first) if done > self._first else None


class _QuietConsole(Console):
    """A console that hands a broken pipe to its caller, where rich itself would end the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _parts(at: Progression, metrics: Mapping[str, float]) -> list[str]:
    shown = [f"{label} {metrics[path]:.4g}" for path, label in _SHOWN.items() if path in metrics]
    eta = [] if at.eta is None or at.ends else [f"{at.eta} left"]
    return [f"step {at.done}" if at.steps is None else f"step {at.done}/{at.steps}", *eta, *shown]


def _fitting(parts: Sequence[str], width: int) -> str:
    """As many of the first parts as fit into so many characters."""
    text = "  ".join(parts)
    return text if len(text) <= width or len(parts) == 1 else _fitting(parts[:-1], width)


def _is_live(mode: ConsoleMode, stream: TextIO) -> bool:
    return mode == "auto" and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("CI")


def _point_at_nothing(stream: TextIO) -> None:
    """Give a broken stream a sink, so that what is still buffered does not fail again when the process ends."""
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, stream.fileno())
        os.close(sink)
    except (OSError, ValueError):
        return  # no file descriptor stands behind it: nothing is left to fail
