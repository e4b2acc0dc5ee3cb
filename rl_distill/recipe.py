"""The one configuration of a run, composed of the classes that live beside the code they configure."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rl_distill.algorithms.base import REFERENCE_NEEDS, ROLLOUT_NEEDS, TEACHER_NEEDS, Need
from rl_distill.cluster.settings import AnyCluster, LocalCluster
from rl_distill.config import config, parse, read_yaml, setting
from rl_distill.errors import InputError
from rl_distill.evaluation.evaluator import Evaluation
from rl_distill.rollout.engines import AnyEngine
from rl_distill.rollout.hf_engine import HfEngineConfig
from rl_distill.tracking import Tracking
from rl_distill.training.alarms import Alarms
from rl_distill.training.stages import Stage
from rl_distill.training.student import Student
from rl_distill.training.weight_sync import SyncChecks

BASE = "base"
RECORDED = "recorded"  # a teacher whose distributions came with the data set


@config
class CheckpointSettings:
    """How often a stage's whole state is saved, and what is kept."""

    every_steps: int = setting(50, about="steps between checkpoints", ge=1)
    keep_last: int = setting(2, about="how many of the newest are kept; the one before serves if the newest is damaged", ge=1)
    keep_best: bool = setting(True, about="keep the one with the best evaluation too")


@config
class Recipe:
    """A run: a student, the stages that teach it, and how the outcome is measured."""

    name: str = setting(about="names the run folder", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = setting(0, about="with stage, step, problem and sample index the address of everything random")
    run_dir: str | None = setting(None, about="the run folder; none is runs/NAME")
    student: Student = setting(about="who is taught")
    reference: str | None = setting(
        None, about="folder or hub name of the reference model; none is the student as the stage finds it"
    )
    teacher: str | None = setting(
        None,
        about="folder or hub name of the teacher that distillation learns from, or an earlier stage or base: that student as it "
        "was then; recorded: the log-probs that a curated data set has",
    )
    stages: tuple[Stage, ...] = setting(
        about="what it is taught, in order; each starts from the one before or from `start`", min_length=1
    )
    engine: AnyEngine = setting(HfEngineConfig(), about="what samples")
    evaluation: Evaluation | None = setting(None, about="what every student is measured on; none measures nothing")
    checkpoints: CheckpointSettings = setting(CheckpointSettings(), about="how the run survives interruptions")
    alarms: Alarms = setting(Alarms(), about="what each stage watches itself for, beside errors")
    tracking: Tracking = setting(Tracking(), about="who is told about metrics")
    sync: SyncChecks = setting(SyncChecks(), about="how new weights are checked on their way to the engine")
    cluster: AnyCluster = setting(LocalCluster(), about="where it runs")

    def __post_init__(self) -> None:
        seen = [BASE]
        for stage in self.stages:
            if stage.name == RECORDED:
                raise ValueError(f"stages: one is named {RECORDED!r}, which as a teacher is no stage: give it another name")
            if stage.name in seen:
                raise ValueError(
                    f"stages: two are named {stage.name!r}; give each a name of its own ({BASE!r} is the student as it comes)"
                )
            if stage.start is not None and stage.start not in seen:
                raise ValueError(
                    f"stages.{stage.name}.start: {stage.start!r} is no earlier stage; choose one of {', '.join(seen)}"
                )
            seen.append(stage.name)
        self._check_cluster()
        if self.reference is not None and not any(self._stages_that(REFERENCE_NEEDS)):
            raise ValueError("reference has no effect, for no stage's algorithm compares with one: drop it")
        self._check_teacher()
        self._check_warm_starts()

    def _check_warm_starts(self) -> None:
        """Who must not start cold comes after a stage that has taught the student from data."""
        stages = {stage.name: stage for stage in self.stages}
        for stage in self.stages:
            cold = [objective.algorithm for objective in stage.objectives if objective.algorithm.needs_warm_start]
            if cold and not any(_learns_from_data(stages[name]) for name in self.lineage(self.start_of(stage))):
                raise ValueError(
                    f"stages.{stage.name}: {cold[0].name} starts from a student that no stage has taught from data: "
                    "let an sft stage come before, or set algorithm.allow_cold_start=true"
                )

    def _check_teacher(self) -> None:
        """There is a teacher exactly where one is learnt from; one that is a stage comes before those that it teaches."""
        taught = list(self._stages_that(TEACHER_NEEDS))
        if self.teacher is None:
            if taught:
                raise ValueError(
                    f"stages.{taught[0].name}.algorithm learns from a teacher, and there is none: "
                    "give a folder or hub name as `teacher`, or recorded for a data set with its log-probs"
                )
            return
        if not taught:
            raise ValueError("teacher has no effect, for no stage's algorithm learns from one: drop it")
        if self.teacher == RECORDED:
            self._check_recorded(taught)
        names = [BASE, *(stage.name for stage in self.stages)]
        if self.teacher in names and names.index(self.teacher) >= names.index(taught[0].name):
            raise ValueError(
                f"teacher: stage {self.teacher!r} does not come before stages.{taught[0].name}, which learns from it: "
                "name an earlier one"
            )

    def _check_recorded(self, taught: Sequence[Stage]) -> None:
        """Most likely tokens are recorded beside the attempts of a data set, and nothing else is."""
        for stage in taught:
            for objective in stage.objectives:
                algorithm = objective.algorithm
                if not algorithm.needs & TEACHER_NEEDS:
                    continue
                if objective.source.name != "dataset" or Need.TEACHER_LOGPROBS in algorithm.needs:
                    raise ValueError(
                        f"teacher: nobody recorded log-probs of what a student will sample, which {algorithm.name} of "
                        f"stages.{stage.name} learns from: name a model"
                    )
                if algorithm.candidates is not None and algorithm.candidates.drawn:
                    raise ValueError(
                        f"teacher: recorded are its most likely tokens and no draws, which stages.{stage.name}.algorithm.support "
                        "asks for: set it to top_k, or name a model"
                    )

    @property
    def scoring_teacher(self) -> str | None:
        """The teacher that reads what the student is taught; None where there is none, or where it did so before."""
        return None if self.teacher == RECORDED else self.teacher

    @property
    def scored_needs(self) -> frozenset[Need]:
        """What a model has to read attempts for."""
        return REFERENCE_NEEDS | (TEACHER_NEEDS if self.scoring_teacher is not None else frozenset())

    def _stages_that(self, need: frozenset[Need]) -> Iterator[Stage]:
        """Stages with an objective that has one of these needs."""
        return (stage for stage in self.stages if any(objective.algorithm.needs & need for objective in stage.objectives))

    def _check_cluster(self) -> None:
        """What holds only in one process, or only on a cluster."""
        local = self.cluster.name == "local"
        if not local and getattr(self.engine, "device", "auto") != "auto":
            raise ValueError("engine.device has no effect on a cluster, where cluster.engine.gpus decides: drop it")
        for stage in self.stages:
            if not local and stage.learner.device != "auto":
                raise ValueError(
                    f"stages.{stage.name}.learner.device has no effect on a cluster, where cluster.learner.gpus decides: drop it"
                )
            for objective in stage.objectives:
                ahead = getattr(objective.source, "max_staleness", 0)
                if ahead and local:
                    raise ValueError(
                        f"stages.{stage.name}.source.max_staleness: {ahead} lets sampling run beside the learner; "
                        "use cluster.name=ray, or 0"
                    )

    @property
    def roles(self) -> frozenset[str]:
        """What the run needs beside its driver: "learner", "engine" where something is sampled, "scorer" where one compares."""
        objectives = [objective for stage in self.stages for objective in stage.objectives]
        samples = self.evaluation is not None or any(objective.source.name == "rollout" for objective in objectives)
        compares = any(objective.algorithm.needs & self.scored_needs for objective in objectives)
        return frozenset({"learner"} | ({"engine"} if samples else set()) | ({"scorer"} if compares else set()))

    def is_student(self, name: str) -> bool:
        """Whether a name is that of a student of this run: base, or one of its stages."""
        return name == BASE or any(stage.name == name for stage in self.stages)

    @property
    def folder(self) -> Path:
        return Path(self.run_dir or f"runs/{self.name}").expanduser()

    def start_of(self, stage: Stage) -> str:
        """Name of the stage, or base, whose student a stage goes on with."""
        if stage.start is not None:
            return stage.start
        index = self.stages.index(stage)
        return self.stages[index - 1].name if index else BASE

    def lineage(self, name: str) -> tuple[str, ...]:
        """The stages that made a stage's student, the first one first; () for base."""
        if name == BASE:
            return ()
        stage = next(stage for stage in self.stages if stage.name == name)
        return (*self.lineage(self.start_of(stage)), name)


def _learns_from_data(stage: Stage) -> bool:
    return any(
        objective.source.name != "rollout" and not objective.algorithm.needs & ROLLOUT_NEEDS for objective in stage.objectives
    )


def recorded_recipe(run: Path) -> Recipe:
    """The recipe in a run's folder.

    Raises:
        InputError: this version of the package cannot read it, with the version that wrote it.
    """
    try:
        return load_recipe(run / "recipe.yaml")
    except InputError as error:
        try:
            wrote = json.loads((run / "environment.json").read_text(encoding="utf-8"))["rl_distill"]
        except (OSError, ValueError, KeyError, TypeError):
            wrote = "of an unknown version"
        remedy = "read it with that version; `rl-distill report` shows what can be read of it"
        raise InputError(
            str(run / "recipe.yaml"), f"was written by rl_distill {wrote}, and here {error.field} {error.problem}", remedy
        ) from None


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from YAML with dotted overrides, validated strictly.

    Example:
        load_recipe("experiments/debug/redi.yaml", ["stages.redi.algorithm.negative_coef=0", "seed=1"])

    Raises:
        InputError: naming the key, what is wrong with it, and the nearest thing that would be right.
    """
    return parse(Recipe, read_yaml(Path(path), overrides))
