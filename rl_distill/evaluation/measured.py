"""What was measured of a student, read back from an evaluation's folder or from a run."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from rl_distill.config import read_yaml
from rl_distill.errors import InputError
from rl_distill.evaluation.benchmark import MACHINE_KEYS
from rl_distill.evaluation.stored_result import RESULT, read_result
from rl_distill.evaluation.subject import is_run, named_base, run_and_stage, stage_folder
from rl_distill.sealing import MANIFEST, checksums, damage

IN_RUN = "evaluation"  # what a run's own evaluation is called beside benchmarks, which have names
ANSWERS = "evaluation.jsonl"
STUDENT, TEMPLATE = "student", "student/chat_template.jinja"
UNKNOWN = "unknown"  # a chat template of which nothing was recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredBenchmark:
    """
    settings     `version`, `prompt`, `grader`, `sampling`, `problems_hash`
    num_samples  attempts at each problem
    accuracy     of each judged problem, by its id
    """

    settings: Mapping[str, Any]
    num_samples: int
    accuracy: Mapping[str, float]
    num_problems: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A student's measurements; `model` and `conditions` may differ between two that are compared, and are said then.

    place  the file with the numbers, whatever it was called by
    model  what tells it from others: a digest of its weights, of its chat template, ...
    """

    label: str
    place: Path
    benchmarks: Mapping[str, MeasuredBenchmark]
    model: Mapping[str, Any]
    conditions: Mapping[str, Any]


def read_measured(given: str) -> Measured:
    """
    Args:
        given: an evaluation's folder, a run's folder (its last stage) or `RUN:STAGE`.

    Raises:
        InputError: nothing was measured there, or what was measured is damaged.
    """
    folder = Path(given).expanduser()
    if (folder / RESULT).is_file():
        return _of_folder(given, folder)
    if is_run(folder):
        return _of_stage(given, folder, None)
    if split := run_and_stage(given):
        return _of_stage(given, *split)
    what = "its evaluation has not finished a benchmark" if (folder / "settings.json").is_file() else "nothing was measured there"
    raise InputError(repr(given), what, "give a folder that `rl-distill evaluate` wrote, or RUN:STAGE of a run that evaluates")


def _of_folder(given: str, folder: Path) -> Measured:
    result = read_result(folder / RESULT)
    benchmarks = {
        name: MeasuredBenchmark(
            settings=one,
            num_samples=one["num_samples"],
            accuracy=one["problem_accuracy"],
            num_problems=one["num_problems"],
        )
        for name, one in result["benchmarks"].items()
    }
    return Measured(
        label=given,
        place=(folder / RESULT).resolve(),
        benchmarks=benchmarks,
        model={key: value for key, value in result["model"].items() if key not in ("given", "folder")},
        conditions={"engine": result["engine"], "seed": result["seed"], "environment": result["environment"]},
    )


def _of_stage(given: str, run: Path, stage: str | None) -> Measured:
    """
    Args:
        stage: none is the last one.
    """
    recipe = _recipe(run)
    folder = stage_folder(run, recipe.last_stage if stage is None else stage)
    path = folder / ANSWERS
    try:
        sums = checksums(folder)
        problem = damage(folder, [ANSWERS])
    except (OSError, ValueError) as error:
        sums, problem = {ANSWERS: ""}, f"its list of checksums cannot be read: {error}"
    if ANSWERS not in sums or recipe.terms is None:
        remedy = "give a run whose recipe has `evaluation`, or use rl-distill evaluate"
        raise InputError(f"{run}:{folder.name}", "was not evaluated", remedy)
    if problem is not None:
        raise InputError(str(path), f"is damaged ({problem})", "continue the run, which then does that stage again")
    return Measured(
        label=given,
        place=path.resolve(),
        benchmarks={IN_RUN: _recorded(path, recipe.terms, recipe.num_samples)},
        model=_model(run, sums),
        conditions=recipe.conditions,
    )


def _model(run: Path, sums: Mapping[str, str]) -> dict[str, Any]:
    """What tells a stage's student from others; a base that the recipe names has no files in the run."""
    if any(PurePath(name).parts[0] == STUDENT for name in sums):
        weights = sorted((name, sums[name]) for name in sums if PurePath(name).match(f"{STUDENT}/*.safetensors"))
        return {"weights": weights, "chat_template": sums.get(TEMPLATE, "none")[:16]}
    return {"weights": named_base(run), "chat_template": _later_template(run)}


def _later_template(run: Path) -> str:
    """That of a student which the run saved: all of a run are asked with one tokenizer."""
    for manifest in sorted(run.glob(f"stages/[!.]*/{MANIFEST}")):
        try:
            if found := checksums(manifest.parent).get(TEMPLATE):
                return found[:16]
        except (OSError, ValueError):
            continue  # a damaged stage says nothing; whoever compares it hears of it
    return UNKNOWN


def _recorded(path: Path, terms: Mapping[str, Any], num_samples: int) -> MeasuredBenchmark:
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    grades: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row["verdict"] in ("correct", "wrong"):
            grades[row["problem"]].append(row["verdict"] == "correct")
    problems = sorted({(row["problem"], row["prompt"], row["answer"] or "") for row in rows})
    return MeasuredBenchmark(
        settings={**terms, "problems_hash": sha256(json.dumps(problems).encode()).hexdigest()},
        num_samples=num_samples,
        accuracy={problem: sum(found) / len(found) for problem, found in grades.items()},
        num_problems=len(problems),
    )


class _Recipe(NamedTuple):
    """What a run's recipe says of its evaluation; `terms` is None where it has none."""

    last_stage: str
    terms: dict[str, Any] | None
    num_samples: int
    conditions: dict[str, Any]


def _recipe(run: Path) -> _Recipe:
    path = run / "recipe.yaml"
    try:
        plain = read_yaml(path)
        last, conditions = plain["stages"][-1]["name"], {"engine": plain["engine"], "seed": plain["seed"]}
        settings = plain["evaluation"]
        if settings is None:
            return _Recipe(last, None, 0, conditions)
        graders = [{key: value for key, value in one.items() if key not in MACHINE_KEYS} for one in settings["verifiers"]]
        prompt, sampling = plain["student"]["prompt"], settings["sampling"]
        terms = {"version": None, "prompt": prompt, "sampling": sampling, "grader": graders}
        return _Recipe(last, terms, settings["num_samples"], conditions)
    except (InputError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(str(path), f"is damaged ({type(error).__name__}: {error})", "restore it") from None
