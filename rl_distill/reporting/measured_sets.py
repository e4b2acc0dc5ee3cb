"""Which accuracies may stand side by side: those measured on the same problems, asked and graded in the same way."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from rl_distill.evaluation.measured import IN_RUN, MeasuredBenchmark, read_measured
from rl_distill.reporting.notes import readable
from rl_distill.reporting.run_facts import RunFacts

COMPARED = ("problems_hash", "version", "prompt", "grader", "sampling")  # as `rl-distill compare` refuses by


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """A finished stage of a run. `measured_on` is the letter of its problems, None where nothing was measured."""

    run: int
    stage: str
    measured_on: str | None

    @property
    def place(self) -> tuple[int, str]:
        return self.run, self.stage


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSet:
    letter: str
    num_problems: int
    settings: Mapping[str, Any]

    def as_data(self) -> dict[str, Any]:
        sampling = self.settings.get("sampling") or {}
        shown = {key: sampling[key] for key in ("temperature", "max_tokens") if key in sampling}
        return {
            "letter": self.letter,
            "problems": self.num_problems,
            "sampling": shown,
            "hash": self.settings["problems_hash"][:12],
        }


def students_of(runs: Sequence[RunFacts]) -> tuple[list[Student], list[MeasuredSet]]:
    """Every finished stage, and the sets of problems that they were measured on, A first."""
    students: list[Student] = []
    sets: dict[str, MeasuredSet] = {}
    for number, run in enumerate(runs):
        for stage, result in run.results.items():
            letter = None
            if result.get("evaluation"):
                found = readable(run.notes, f"stage {stage}", None, _benchmark, run, stage)
                letter = _letter(sets, found) if found else None
            students.append(Student(run=number, stage=stage, measured_on=letter))
    return students, list(sets.values())


def settings_key(settings: Mapping[str, Any]) -> str:
    """Two benchmarks with the same key may be compared."""
    return json.dumps([settings[key] for key in COMPARED], sort_keys=True)


def letters(number: int) -> str:
    """A to Z, then AA."""
    high, low = divmod(number, len(ascii_uppercase))
    return (letters(high - 1) if high else "") + ascii_uppercase[low]


def _benchmark(run: RunFacts, stage: str) -> MeasuredBenchmark | None:
    return read_measured(f"{run.path}:{stage}").benchmarks[IN_RUN]


def _letter(sets: dict[str, MeasuredSet], found: MeasuredBenchmark) -> str:
    key = settings_key(found.settings)
    if key not in sets:
        sets[key] = MeasuredSet(letter=letters(len(sets)), num_problems=found.num_problems, settings=found.settings)
    return sets[key].letter
