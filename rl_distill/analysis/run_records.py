"""What a run folder says of its stages: results, seconds by phase, who taught. Of one that was cut short its last checkpoint."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rl_distill.errors import InputError
from rl_distill.learning.checkpoint import read_state
from rl_distill.learning.loss_term import MAIN
from rl_distill.recipe import BASE, Recipe, recorded_recipe
from rl_distill.sealing import damage
from rl_distill.tracking import read_metrics

PHASES = {  # what a step's seconds went to, by the metric that says it
    "sampling": "time/generate",
    "grading": "time/score",
    "scoring": "time/credit",
    "training": "time/train",
    "sync": "time/sync",
}
RUNG = "alarm/"  # begins the metric of an alarm's own name, behind the path of its objective


class Attempt(NamedTuple):
    """An attempt as the ledger has it: who made it, its problem, its place in the group, its tokens with those of the prompt.

    `seeded` where an engine or a teacher drew it from a seed that is known, as a student's own attempts always are.
    """

    model: str
    problem: str
    place: int
    tokens: int
    seeded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """A finished stage.

    result   of its `result.json`
    student  folder of its student; None for a base that the recipe names and the run does not keep
    phases   seconds of its steps by phase; None where they were made by another run (a base from the cache)
    idle     seconds that one worker of each kind was without work; None where nothing is recorded
    read     distinct attempts that each of its sources handed out, as the ledger has them; "" is the stage's own source
    """

    name: str
    result: Mapping[str, Any]
    student: Path | None
    phases: Mapping[str, float] | None
    idle: Mapping[str, float] | None
    read: Mapping[str, frozenset[Attempt]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """
    stages      those that are finished, base first, and those that have begun where these were asked for
    unfinished  the names of those that are not finished
    """

    path: Path
    recipe: Recipe
    stages: Mapping[str, StageRecord]
    unfinished: tuple[str, ...]


def read_run(path: Path, *, begun: bool = False) -> RunRecord:
    """
    Args:
        begun: stages that were cut short count too, up to their newest checkpoint.

    Raises:
        InputError: it is no run's folder, it is damaged, or no stage is finished.
    """
    if not (path / "recipe.yaml").is_file():
        raise InputError("RUN", f"{str(path)!r} holds no run", "give the folder of a run (its run_dir)")
    recipe = recorded_recipe(path)
    names = (BASE, *(stage.name for stage in recipe.stages))
    results = {name: _result(path / "stages" / name / "result.json") for name in names}
    finished = {name: result for name, result in results.items() if result is not None}
    if not finished:
        raise InputError("RUN", f"{str(path)!r} has finished no stage", "continue it with rl-distill train, then ask again")
    unfinished = tuple(name for name in names if name not in finished)
    saved = {name: _saved(path / "checkpoints" / name) for name in unfinished if begun}
    shown = finished | {name: result for name, result in saved.items() if result is not None}
    metrics = read_metrics(path / "metrics.jsonl") if (path / "metrics.jsonl").is_file() else []
    read = _read_attempts(path / "ledger.jsonl")
    stages = {}
    for name, result in shown.items():
        lines = [line for line in metrics if line["stage"] == name]
        student = path / "stages" / name / "student"
        stages[name] = StageRecord(
            name=name,
            result=result,
            student=student if student.is_dir() else None,
            phases=_phases(lines) if len(lines) == result["step"] else None,
            idle=_idle(lines),
            read={source: frozenset(attempts) for (stage, source), attempts in read.items() if stage == name},
        )
    return RunRecord(path=path, recipe=recipe, stages=stages, unfinished=unfinished)


def alarms_rung(lines: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Each alarm that rang in these lines of metrics, as results call them: NAME, or NAME:OBJECTIVE of an objective beside."""
    paths = dict.fromkeys(name for line in lines for name, value in line.items() if RUNG in name and value)
    found = (path.rpartition(RUNG) for path in paths)
    return tuple(f"{alarm}:{path.strip('/').removeprefix('beside/')}" if path else alarm for path, _, alarm in found)


def _saved(checkpoints: Path) -> dict[str, Any] | None:
    """What the result of a stage would be if it had ended at its newest checkpoint, without having been measured."""
    folder = next((one for one in sorted(checkpoints.glob("step-*"), reverse=True) if damage(one) is None), None)
    state = {} if folder is None else read_state(folder)
    if "progress" not in state:
        return None
    return {"work": {}, "evaluation": None, "evaluations": state.get("evaluations"), **state["progress"]}


def _result(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"work": {}, "evaluations": None} | {**found, "step": int(found["step"]), "seconds": float(found["seconds"])}
    except (ValueError, TypeError, KeyError):
        raise InputError(str(path), "is no result of a stage", "remove that stage's folder and continue the run") from None


def _phases(lines: list[dict[str, Any]]) -> dict[str, float]:
    names = dict.fromkeys(name for line in lines for name in line)
    found = {phase: sum(_of_all_sources(lines, names, metric)) for phase, metric in PHASES.items()}
    source = sum(line.get("time/source", 0.0) for line in lines)
    return found | {"reading": max(0.0, source - found["sampling"] - found["grading"])}


def _of_all_sources(lines: list[dict[str, Any]], names: Iterable[str], metric: str) -> Iterator[float]:
    wanted = [name for name in names if name == metric or name.endswith(f"/{metric}")]
    return (line[name] for name in wanted for line in lines if name in line)


def _idle(lines: list[dict[str, Any]]) -> dict[str, float] | None:
    """Seconds of one worker of each kind."""
    found = {
        who: sum(line[metric] * line["time/step"] for line in lines if metric in line)
        for who, metric in (("engine", "engine/idle_fraction"), ("learner", "learner/idle_fraction"))
        if any(metric in line for line in lines)
    }
    return found or None


def _read_attempts(path: Path) -> dict[tuple[str, str], set[Attempt]]:
    """By stage and source."""
    found: dict[tuple[str, str], set[Attempt]] = {}
    for line in _whole_lines(path):
        held = found.setdefault((line["stage"], line.get("beside", MAIN)), set())
        held |= {
            Attempt(one["model"], line["problem"], place, one["tokens"], one["seed"] is not None)
            for place, one in enumerate(line["attempts"])
            if one["seed"] is not None or "context" not in one  # the gold answer behind a dialogue is nobody's attempt
        }
    return found


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The last line of a run at work may be unfinished, and is none."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError:
                raise InputError(f"{path}:{number}", "is no line of a ledger", "restore that file") from None
