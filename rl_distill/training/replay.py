"""Doing a recorded run again, shard by shard with the weights that each met, and seeing that every number comes out the same."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from rl_distill.cluster.settings import RayCluster
from rl_distill.errors import InputError
from rl_distill.recipe import BASE, Recipe, load_recipe
from rl_distill.rollout.scripted import script_of
from rl_distill.sealing import damage
from rl_distill.training.differences import first_difference, whole_rows
from rl_distill.training.fingerprint import changed, run_digests
from rl_distill.training.run import Replay, train
from rl_distill.training.run_folder import REPLAY, STOPPED, RunFolder

MAY_CHANGE = ("cluster.address=", "tracking.", "run_dir=")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """
    folder      of the replay, a run folder
    steps       that were done
    difference  the first number that came out otherwise; None if all are the same to the bit
    student     as it was after the last step, if the replay stopped before the end
    """

    folder: Path
    steps: int
    difference: str | None
    student: Path | None


def replay(
    recorded: Path,
    folder: Path | None = None,
    *,
    until: int | None = None,
    tolerance: float = 0.0,
    overrides: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> ReplayResult:
    """Repeat a run from its folder alone: recipe.yaml, schedule.jsonl and the base student.

    Args:
        folder: of the replay; none is `replay` in the recorded one. What an earlier replay left there is done again.
        until: the step to stop after, as `run/step` counts them over all stages; none is the last that was recorded.
        tolerance: relative difference of numbers that counts as none: 0 on the machine that made the run, more on others.
        overrides: `key=value` for where it runs: cluster.address, tracking.

    Raises:
        InputError: there is no run, or not enough of it; its data is not what it was.
        RunError: a step asks for attempts that the recorded run never sampled.
    """
    folder = folder or recorded / "replay"
    recipe = _recipe(recorded, folder, overrides)
    first, last = _recorded_steps(recorded)
    if until is not None and not first <= until <= last:
        raise InputError("--until", f"is {until}, and steps {first} to {last} were recorded", "give one of those")
    finished = (recorded / "summary.json").exists()
    stop = until if until is not None or finished else last
    _begin(recorded, recipe)
    say(f"replays steps {first} to {last if stop is None else stop} of {recorded} into {folder}")
    threads = json.loads((recorded / "environment.json").read_text())["torch_threads"]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        script = script_of(whole_rows(recorded / "schedule.jsonl"))
        train(recipe, say, replay=Replay(script=script, until=stop))
    finally:
        torch.set_num_threads(before)
    names = [stage.name for stage in recipe.stages]
    return ReplayResult(
        folder=folder,
        steps=(last if stop is None else stop) - first + 1,
        difference=first_difference(recorded, folder, names, until=stop, tolerance=tolerance),
        student=None if stop is None else folder / STOPPED / "student",
    )


def _recipe(recorded: Path, folder: Path, overrides: Sequence[str]) -> Recipe:
    for name in ("recipe.yaml", "schedule.jsonl", "metrics.jsonl", "environment.json", "data.json"):
        if not (recorded / name).is_file():
            problem = f"{str(recorded)!r} holds no run that could be replayed ({name} is not there)"
            raise InputError("RUN", problem, "give the folder of a run (its run_dir)")
    for text in overrides:
        if not text.startswith(MAY_CHANGE):
            problem = "would make it another run"
            raise InputError(text.partition("=")[0], problem, f"change only {', '.join(key.rstrip('=.') for key in MAY_CHANGE)}")
    given = yaml.safe_load((recorded / "recipe.yaml").read_text())
    quiet = ["tracking.wandb=null"] if (given.get("tracking") or {}).get("wandb") else []
    recipe = load_recipe(recorded / "recipe.yaml", [*quiet, *overrides, f"run_dir={folder}"])
    if isinstance(recipe.cluster, RayCluster) and recipe.cluster.transport != "object_store":
        problem = f"is {recipe.cluster.transport!r}, which leaves no older weights to sample with"
        raise InputError("cluster.transport", problem, "only runs with object_store can be replayed")
    before = json.loads((recorded / "data.json").read_text())
    for key in changed(before, run_digests(recipe)):
        raise InputError(key, "is not the data that the run was made with", "restore it")
    return recipe


def _recorded_steps(recorded: Path) -> tuple[int, int]:
    """The first and the last `run/step` that was recorded, of all stages but the base's."""
    rows = whole_rows(recorded / "metrics.jsonl")
    steps = [int(row["run/step"]) for row in rows if row["stage"] != BASE]
    if not steps:
        raise InputError("RUN", f"{str(recorded)!r} holds no finished step", "give the folder of a run that has taken a step")
    return min(steps), max(steps)


def _begin(recorded: Path, recipe: Recipe) -> None:
    """An empty folder with the recorded base student, if that is whole; else it is made again."""
    target = recipe.folder
    if target.exists() and any(target.iterdir()):
        if not (target / REPLAY).exists():
            problem = f"{str(target)!r} is not empty and holds no replay"
            raise InputError("-o", problem, "choose another folder, or remove that one")
        RunFolder(recipe).close()  # nobody works in it
        shutil.rmtree(target)
    RunFolder(recipe).close()
    (target / REPLAY).write_text(f"{recorded.resolve()}\n")
    base = recorded / "stages" / BASE
    if base.is_dir() and damage(base) is None:
        shutil.copytree(base, target / "stages" / BASE)
