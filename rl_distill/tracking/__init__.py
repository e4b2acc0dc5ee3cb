"""What a run measures and who is told: `metrics.jsonl` always, a console and Weights & Biases as the recipe says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rl_distill.config import config, setting
from rl_distill.tracking.console_tracker import ConsoleTracker
from rl_distill.tracking.jsonl_tracker import JsonlTracker, read_metrics
from rl_distill.tracking.tracker import Say, Tracker, Trackers
from rl_distill.tracking.wandb_tracker import Wandb, WandbTracker

__all__ = ["TRACKERS", "RunIdentity", "Tracker", "Trackers", "Tracking", "Wandb", "WandbTracker", "open_trackers", "read_metrics"]

METRICS_FILE = "metrics.jsonl"


@config
class Tracking:
    """Who is told beside `metrics.jsonl`. Each key names an entry of `TRACKERS`."""

    console: Literal["auto", "plain", "quiet"] = setting(
        "auto", about="auto draws a live bar on a terminal; plain writes lines, quiet nothing"
    )
    trajectories_every: int | None = setting(
        10, about="write the sampled attempts of every so many steps in full; none writes none", ge=1
    )
    wandb: Wandb | None = setting(None, about="Weights & Biases; none leaves it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """What trackers know of a run: its folder, its name, an id that stays over resumes, its stages and its resolved recipe."""

    folder: Path
    name: str
    id: str
    stages: Mapping[str, int | None]  # steps of each stage, in order; None where nobody knows them beforehand
    resolved: Mapping[str, Any]


def _console(tracking: Tracking, run: RunIdentity, say: Say) -> Tracker | None:
    return None if tracking.console == "quiet" else ConsoleTracker(run.stages, tracking.console)


def _wandb(tracking: Tracking, run: RunIdentity, say: Say) -> Tracker | None:
    if tracking.wandb is None:
        return None
    return WandbTracker(tracking.wandb, folder=run.folder, name=run.name, run_id=run.id, resolved=run.resolved, say=say)


TRACKERS: dict[str, Callable[[Tracking, RunIdentity, Say], Tracker | None]] = {
    "wandb": _wandb,
    "console": _console,
}


def open_trackers(tracking: Tracking, run: RunIdentity, say: Say = print) -> Trackers:
    """The trackers of a run; `.record` is the one on disk, which a resumed run truncates to its checkpoint.

    Args:
        say: takes a line for the user, such as where to find the run, or that a tracker has failed.

    Raises:
        InputError: one of them cannot start; those already open are closed again.
    """
    trackers = Trackers(JsonlTracker(run.folder / METRICS_FILE), say)
    try:
        for name, opened in TRACKERS.items():
            if tracker := opened(tracking, run, say):
                trackers.add(name, tracker)
    except BaseException:
        trackers.close(failed=True)
        raise
    return trackers
