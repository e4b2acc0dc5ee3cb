"""Evaluations that `rl-distill evaluate` made of the report's runs, found in the folders where evaluations lie."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError
from rl_distill.evaluation.evaluation_folder import SAMPLES
from rl_distill.evaluation.stored_result import RESULT
from rl_distill.reporting.measured_sets import letters, settings_key
from rl_distill.reporting.notes import readable
from rl_distill.reporting.payload import rounded
from rl_distill.reporting.run_facts import RunFacts

FINAL, STAGES = "final", "stages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Of a student of one of the report's runs."""

    folder: Path
    run: int
    stage: str
    result: Mapping[str, Any]

    def samples(self, benchmark: str) -> Path:
        return self.folder / SAMPLES / f"{benchmark}.jsonl"


def find_evaluations(root: Path | None, runs: Sequence[RunFacts], notes: list[str]) -> list[Evaluation]:
    """Those below `root` whose student belongs to a run; how many are of others is noted.

    Raises:
        InputError: `root` is no folder.
    """
    if root is None:
        return []
    if not root.is_dir():
        raise InputError("--evaluations", f"there is no folder {str(root)!r}", "give the folder in which evaluations lie")
    found, others = [], 0
    for path in sorted([*root.glob(RESULT), *root.glob(f"*/{RESULT}"), *root.glob(f"*/*/{RESULT}")]):
        result = readable(notes, str(path), {}, _result, path)
        owner = _owner(result, runs) if result else None
        if result and owner:
            found.append(Evaluation(folder=path.parent, run=owner[0], stage=owner[1], result=result))
        elif result:
            others += 1
    if others:
        notes.append(f"{root}: {others} evaluations are of students of no run of this report, and left out")
    return found


def benchmark_data(evaluations: Sequence[Evaluation], notes: list[str]) -> dict[str, Any]:
    """A row for each benchmark of each evaluation; `set` tells measurements apart that may not be compared."""
    sets: dict[tuple[str, str], str] = {}
    rows: list[dict[str, Any]] = []
    for one in evaluations:
        rows += readable(notes, str(one.folder), [], _rows, one, sets)
    return {"rows": rows}


def _rows(one: Evaluation, sets: dict[tuple[str, str], str]) -> list[dict[str, Any]]:
    return [_row(name, found, one, sets) for name, found in one.result["benchmarks"].items()]


def _row(name: str, found: Mapping[str, Any], one: Evaluation, sets: dict[tuple[str, str], str]) -> dict[str, Any]:
    key = (name, settings_key(found))
    letter = sets.setdefault(key, letters(sum(other == name for other, _ in sets)))
    return {
        "benchmark": name,
        "set": letter,
        "run": one.run,
        "stage": one.stage,
        "samples": found["num_samples"],
        "problems": found["num_problems"],
        **{end: rounded(found["accuracy"][end]) for end in ("mean", "low", "high")},
        "pass_at": {k: rounded(value) for k, value in found["pass_at"].items()},
        "majority_at": {k: rounded(value) for k, value in found["majority_at"].items()},
        "tokens": rounded(found["mean_tokens"]),
        "truncated": rounded(found["truncated_fraction"]),
        "unverifiable": found["unverifiable"],
        "caveats": list(found.get("caveats", ())),
    }


def _result(path: Path) -> Mapping[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {"model": {"folder": str(result["model"]["folder"])}, "benchmarks": dict(result["benchmarks"])}


def _owner(result: Mapping[str, Any], runs: Sequence[RunFacts]) -> tuple[int, str] | None:
    """The run and the stage that a student's folder lies in."""
    folder = Path(result["model"]["folder"]).resolve()
    for number, run in enumerate(runs):
        if folder.is_relative_to(run.path):
            parts = folder.relative_to(run.path).parts
            if parts[:1] == (FINAL,) and run.stages:
                return number, run.stages[-1]
            if parts[:1] == (STAGES,) and len(parts) > 1:
                return number, parts[1]
    return None
