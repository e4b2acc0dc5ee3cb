"""A whole run: the base student, every stage, the summary. Finished stages are not repeated."""

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rl_distill.cluster.settings import RayCluster
from rl_distill.config import dump
from rl_distill.errors import WorkerLost
from rl_distill.models.loading import save_pretrained
from rl_distill.models.pretrained import PretrainedModel
from rl_distill.recipe import BASE, Recipe, load_recipe
from rl_distill.rollout.scripted import Script
from rl_distill.sealing import damage, sealed
from rl_distill.tracking import RunIdentity, open_trackers
from rl_distill.tracking.append_log import AppendLog
from rl_distill.training.build import Workshop
from rl_distill.training.fingerprint import run_digests
from rl_distill.training.interruption import Interrupted, Reached, StopRequest, graceful_stop
from rl_distill.training.loop import Progress
from rl_distill.training.measuring import measured
from rl_distill.training.run_folder import RECORDS, SCRATCH, RunFolder
from rl_distill.training.shared_stages import SharedStages
from rl_distill.training.stage_run import RESULT, Records, StageRun, write_result
from rl_distill.training.stages import Training
from rl_distill.training.student import SeededModel, cache_folder

Say = Callable[[str], None]

_NONE = Progress()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What makes a run the repetition of another.

    script  which weights each shard met
    until   `run/step` to stop after; none goes to the end
    """

    script: Script
    until: int | None


def train(
    recipe: Recipe | str | Path, say: Say = print, *, replay: Replay | None = None, shared: Collection[Path] = ()
) -> dict[str, Any]:
    """Run a recipe, or continue its run folder. Returns what `summary.json` holds; {} of a replay that stopped before the end.

    Args:
        recipe: or the path of its YAML file.
        shared: entries of a store of stages that this run takes over, or leaves for others (`training.shared_stages`).

    Raises:
        InputError: the recipe or the run folder is wrong; nothing was lost.
        RunError: something failed or the user stopped it; the run folder holds all finished steps.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    folder = RunFolder(recipe)
    try:
        for change in folder.changed:
            say(f"note: {change}: what follows need not be bit for bit what it would have been")
        with graceful_stop() as stop:
            return _Run(recipe, folder, stop, say, replay, shared).run()
    except Reached:
        return {}
    finally:
        folder.close()


class _Run:
    def __init__(
        self, recipe: Recipe, folder: RunFolder, stop: StopRequest, say: Say, replay: Replay | None, entries: Collection[Path]
    ) -> None:
        self.recipe, self.folder, self.stop, self.say, self.entries = recipe, folder, stop, say, entries
        self.script = replay.script if replay else None
        self.until = replay.until if replay else None
        self.results: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, Any]:
        identity = RunIdentity(
            folder=self.folder.path,
            name=self.recipe.name,
            id=self.folder.run_id(),
            stages=self._stages(),
            resolved=dump(self.recipe),
        )
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(TemporaryDirectory(dir=self.folder.path, prefix=SCRATCH)))
            saved_base = self.folder.stage(BASE) / "student"
            self.workshop = Workshop(self.recipe, scratch, saved_base, say=self.say, script=self.script)
            stack.push(lambda kind, *_: self.workshop.close(failed=kind is not None))
            trackers = stack.enter_context(open_trackers(self.recipe.tracking, identity, self.say))
            logs = {name: AppendLog(self.folder.path / RECORDS[name]) for name in ("ledger", "schedule", "trajectories")}
            for log in logs.values():
                stack.callback(log.close)
            self.records = Records(trackers=trackers, **logs)
            unfinished = {name: training for name, training in self._trainings().items() if not self._finished(name)}
            for note in self.workshop.check(unfinished):
                self.say(note)
            digests = run_digests(self.recipe)
            self.folder.check_data(digests)
            self.shared = SharedStages(self.recipe, digests, self.entries)
            self.folder.begin()
            self._base()
            for stage in self.recipe.stages:
                self._stage(stage.name, stage, self.student(self.recipe.start_of(stage)))
            return self._finish()

    def student(self, name: str) -> str | None:
        """Where a finished stage's student lies; for base the model the recipe names, if it names one."""
        model = self.recipe.student.model
        if name == BASE and isinstance(model, str):
            return model
        return str(self.folder.stage(name) / "student")

    def _teacher(self) -> str | None:
        """Folder or hub name of the model that teaches, if there is one."""
        teacher = self.recipe.scoring_teacher
        return self.student(teacher) if teacher is not None and self.recipe.is_student(teacher) else teacher

    def _base(self) -> None:
        """The student as the run finds it, measured; a seeded one is made once and comes from the cache afterwards."""
        if not self._finished(BASE) and not self._taken_over(BASE):
            self._make_base()
        self.shared.give(BASE, self.folder, self.records)

    def _make_base(self) -> None:
        self.shared.begin(BASE, self.folder)
        model = self.recipe.student.model
        if isinstance(model, str):
            with sealed(self.folder.stage(BASE)) as working:
                self.results[BASE] = self._measured_base(working, model)
        elif model.pretraining is None:
            self._untrained_base(model)
        else:
            self._pretrained_base(model.pretraining)

    def _untrained_base(self, model: PretrainedModel | SeededModel) -> None:
        with sealed(self.folder.stage(BASE)) as working:
            made = self.workshop.scratch / "base"  # where it stays: an engine may be started from it at any time
            save_pretrained(model.build(self.workshop.tokenizer), self.workshop.tokenizer, made)
            shutil.copytree(made, working / "student")
            self.results[BASE] = self._measured_base(working, str(made))

    def _pretrained_base(self, pretraining: Training) -> None:
        cache = cache_folder(self.recipe.student)
        if cache.is_dir() and (problem := damage(cache)) is not None:
            self.say(f"the cached base student {cache} is damaged ({problem}); it is made again")
        if not cache.is_dir() or damage(cache) is not None:
            self._stage(BASE, pretraining, None)
            self._fill_cache(cache)
            return
        self.say(f"base: taken from the cache, {cache}")
        with sealed(self.folder.stage(BASE)) as working:
            shutil.copytree(cache / "student", working / "student")
            progress = Progress(**json.loads((cache / "progress.json").read_text()))
            self.results[BASE] = self._measured_base(working, str(cache / "student"), progress)

    def _measured_base(self, working: Path, model: str, progress: Progress = _NONE) -> dict[str, Any]:
        measurement = measured(lambda: self.workshop.evaluate_model(model))
        return write_result(working, BASE, progress, measurement, measurement.cost)

    def _fill_cache(self, cache: Path) -> None:
        """Keep the base student for later runs. Another run may have put the same one there, and a third may be reading it."""
        if cache.is_dir() and damage(cache) is None:
            return
        try:
            with sealed(cache) as working:
                shutil.copytree(self.folder.stage(BASE) / "student", working / "student")
                cost = {name: self.results[BASE][name] for name in Progress().state()}
                (working / "progress.json").write_text(json.dumps(cost))
        except OSError:
            if not cache.is_dir() or damage(cache) is not None:
                raise

    def _trainings(self) -> dict[str, Training]:
        """Every stage of the run, with the pretraining of the base unless it is cached."""
        model = self.recipe.student.model
        first: dict[str, Training] = {}
        if isinstance(model, SeededModel) and model.pretraining and not cache_folder(self.recipe.student).is_dir():
            first[BASE] = model.pretraining
        return first | {stage.name: stage for stage in self.recipe.stages}

    def _stage(self, name: str, training: Training, start: str | None) -> None:
        if name != BASE and (self._finished(name) or self._taken_over(name)):
            self.shared.give(name, self.folder, self.records)  # a run that was killed may not have come to it
            return
        if self.stop.signal_name:
            raise Interrupted(f"stopped by {self.stop.signal_name} before stage {name!r}; everything before it is saved")
        names = [BASE, *(stage.name for stage in self.recipe.stages)]
        first_step = sum(self.results[before]["step"] for before in names[: names.index(name)])
        self.shared.begin(name, self.folder)
        self.results[name] = self._trained(name, training, start, first_step)
        self.say(_line(name, self.results[name]))
        if name != BASE:
            self.shared.give(name, self.folder, self.records)

    def _taken_over(self, name: str) -> bool:
        """Whether another run has left this stage in the store; it is this run's from now on."""
        result = self.shared.take(name, self.folder, self.records)
        if result is None:
            return False
        self.results[name] = result
        self.say(f"{_line(name, result)}; taken over")
        return True

    def _trained(self, name: str, training: Training, start: str | None, first_step: int) -> dict[str, Any]:
        """The stage's result. Where a worker is lost that it cannot do without, it goes on from its last checkpoint."""
        returns, reached = 0, -1
        while True:
            try:
                parts = self.workshop.parts(name, training, start, self._teacher())
                drives = (self.folder, self.workshop, self.records, self.stop)
                return StageRun(name, parts, *drives, first_step=first_step, until=self.until).run(self.say)
            except WorkerLost as lost:
                saved = self.folder.saved_step(name)
                returns, reached = (returns + 1, saved) if saved <= reached else (1, saved)
                # a replay has not kept the older weights that a stage would need to go on from a checkpoint
                if self.stop.signal_name or self.script is not None or returns > self._retries():
                    raise
                self.say(f"{lost}; stage {name} goes on from its last checkpoint")
                self.workshop.give_up_stage()

    def _retries(self) -> int:
        return self.recipe.cluster.retries if isinstance(self.recipe.cluster, RayCluster) else 0

    def _finished(self, name: str) -> bool:
        folder = self.folder.stage(name)
        if not folder.is_dir():
            self.results.pop(name, None)  # a stage before it was done again, and this one with it
            return False
        if name in self.results:
            return True
        problem = damage(folder)
        if problem is not None:
            self.say(f"stage {name} is damaged ({problem}); it is done again from its last checkpoint")
            shutil.rmtree(folder)
            return False
        self.results[name] = json.loads((folder / RESULT).read_text())
        return True

    def _finish(self) -> dict[str, Any]:
        last = self.recipe.stages[-1].name
        with sealed(self.folder.path / "final") as working:
            shutil.copytree(self.folder.stage(last) / "student", working, dirs_exist_ok=True)
        rows = routes(self.recipe, self.results)
        alarms = [{"stage": name, **alarm} for name, result in self.results.items() for alarm in result["alarms"]]
        summary = {"name": self.recipe.name, "seed": self.recipe.seed, "routes": rows, "alarms": alarms}
        self.folder.write("summary.json", json.dumps(summary, indent=2))
        steps = sum(result["step"] for result in self.results.values())
        self.records.trackers.table(steps, "routes", list(rows[0]), [list(row.values()) for row in rows])
        self.records.trackers.artifact(self.folder.path / "final", "model", f"{self.recipe.name}-final")
        return summary

    def _stages(self) -> dict[str, int | None]:
        """Steps of each stage where the recipe says so, for the progress display."""
        model = self.recipe.student.model
        first = {BASE: model.pretraining.steps} if isinstance(model, SeededModel) and model.pretraining else {}
        return first | {stage.name: stage.steps for stage in self.recipe.stages}


def routes(recipe: Recipe, results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The table: every finished student with its accuracy and what its route from base has cost, all stages on the way added up.

    The row of base holds the cost of making it; the other rows leave that out, since each of them starts from there.
    """
    rows = []
    for name in (name for name in (BASE, *(stage.name for stage in recipe.stages)) if name in results):
        evaluation = results[name]["evaluation"] or {}
        lineage = recipe.lineage(name) or (name,)
        rows.append(
            {
                "name": name,
                **{key: evaluation.get(key) for key in ("accuracy", "low", "high")},
                **{
                    key: sum(results[stage][key] for stage in lineage)
                    for key in ("generated_tokens", "trained_tokens", "seconds")
                },
            }
        )
    return rows


def _line(name: str, result: Mapping[str, Any]) -> str:
    """What a person reads when a student is finished; what spoils an accuracy is said only where there is any."""
    parts = [f"{result['step']} steps in {result['seconds']:.1f} s"] if result["step"] else []
    if evaluation := result["evaluation"]:
        parts.append(f"accuracy {evaluation['accuracy']:.3f} [{evaluation['low']:.3f}, {evaluation['high']:.3f}]")
        if evaluation["unverifiable"]:
            parts.append(f"{evaluation['unverifiable']} answers unverifiable")
        if evaluation["truncated_fraction"] >= 0.05:
            parts.append(f"{evaluation['truncated_fraction']:.0%} truncated")
    if alarms := result["alarms"]:
        parts.append("alarms: " + ", ".join(f"{alarm['alarm']} at step {alarm['step'] + 1}" for alarm in alarms))
    return f"{name}: {', '.join(parts) or 'ready'}"
