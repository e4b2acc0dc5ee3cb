"""What was measured of a student, read back from an evaluation's folder or from a run."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from rl_distill.errors import InputError
from rl_distill.evaluation.benchmark import MACHINE_KEYS
from rl_distill.evaluation.evaluation_folder import RESULT
from rl_distill.evaluation.subject import is_run, run_and_stage, stage_folder

IN_RUN = "evaluation"  # what a run's own evaluation is called beside benchmarks, which have names


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredBenchmark:
    """
    settings  `version`, `prompt`, `grader`, `sampling`, `problems_hash`
    accuracy  of each judged problem, by its id
    """

    settings: Mapping[str, Any]
    accuracy: Mapping[str, float]
    num_problems: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A student's measurements; `conditions` may differ between two that are compared, and is said then."""

    label: str
    benchmarks: Mapping[str, MeasuredBenchmark]
    conditions: Mapping[str, Any]


def read_measured(given: str) -> Measured:
    """
    Args:
        given: an evaluation's folder, a run's folder (its last stage) or `RUN:STAGE`.

    Raises:
        InputError: nothing was measured there.
    """
    folder = Path(given).expanduser()
    if (folder / RESULT).is_file():
        return _of_folder(given, folder)
    if is_run(folder):
        return _of_stage(given, folder, _recipe(folder)["stages"][-1]["name"])
    if split := run_and_stage(given):
        return _of_stage(given, *split)
    what = "its evaluation has not finished a benchmark" if (folder / "settings.json").is_file() else "nothing was measured there"
    raise InputError(repr(given), what, "give a folder that `rl-distill evaluate` wrote, or RUN:STAGE of a run that evaluates")


def _of_folder(given: str, folder: Path) -> Measured:
    try:
        result = json.loads((folder / RESULT).read_text())
        benchmarks = {
            name: MeasuredBenchmark(settings=one, accuracy=one["problem_accuracy"], num_problems=one["num_problems"])
            for name, one in result["benchmarks"].items()
        }
        conditions = {"engine": result["engine"], "seed": result["seed"], "environment": result["environment"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"is damaged ({type(error).__name__}: {error})"
        raise InputError(str(folder / RESULT), problem, "run rl-distill evaluate again with the same settings") from None
    return Measured(label=given, benchmarks=benchmarks, conditions=conditions)


def _of_stage(given: str, run: Path, stage: str) -> Measured:
    path = stage_folder(run, stage) / "evaluation.jsonl"
    if not path.is_file():
        raise InputError(
            f"{run}:{stage}", "was not evaluated", "give a run whose recipe has `evaluation`, or use rl-distill evaluate"
        )
    recipe = _recipe(run)
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    grades: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row["verdict"] in ("correct", "wrong"):
            grades[row["problem"]].append(row["verdict"] == "correct")
    problems = sorted({(row["problem"], row["prompt"], row["answer"] or "") for row in rows})
    settings = recipe["evaluation"]
    graders = [{key: value for key, value in one.items() if key not in MACHINE_KEYS} for one in settings["verifiers"]]
    measured = MeasuredBenchmark(
        settings={
            "version": None,
            "prompt": recipe["student"]["prompt"],
            "sampling": settings["sampling"],
            "grader": graders,
            "problems_hash": sha256(json.dumps(problems).encode()).hexdigest(),
        },
        accuracy={problem: sum(found) / len(found) for problem, found in grades.items()},
        num_problems=len(problems),
    )
    return Measured(
        label=given,
        benchmarks={IN_RUN: measured},
        conditions={"engine": recipe["engine"], "seed": recipe["seed"]},
    )


def _recipe(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((run / "recipe.yaml").read_text())
    return found
