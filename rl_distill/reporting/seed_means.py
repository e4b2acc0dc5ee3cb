"""Runs of one recipe with different seeds: what a student's accuracy comes to over them, each seed one observation."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rl_distill.evaluation.over_seeds import mean_over_seeds
from rl_distill.reporting.measured_sets import Student
from rl_distill.reporting.payload import rounded
from rl_distill.reporting.run_facts import RunFacts, flat

SEEDS = ("seed", "student.model.seed")
WITHOUT_EFFECT = ("name", "run_dir", "tracking")  # on any number


def seed_means(runs: Sequence[RunFacts], students: Sequence[Student]) -> list[dict[str, Any]]:
    """A row for each student and set of problems of runs that differ in nothing but their seed."""
    return [row for numbers in _recipes(runs) for row in _rows(runs, numbers, _measured(runs, students))]


def _measured(runs: Sequence[RunFacts], students: Sequence[Student]) -> dict[tuple[int, str], tuple[str, float]]:
    """By run and stage the set of problems, and the accuracy on it."""
    found = {}
    for student in students:
        accuracy = (runs[student.run].results[student.stage].get("evaluation") or {}).get("accuracy")
        if student.measured_on is not None and accuracy is not None:
            found[student.place] = (student.measured_on, float(accuracy))
    return found


def _recipes(runs: Sequence[RunFacts]) -> list[list[int]]:
    """Places of runs with the same recipe and different seeds; one that repeats a seed is no observation of its own."""
    found: dict[str, dict[str, list[int]]] = {}
    for number, run in enumerate(runs):
        if run.recipe:
            keys = {key: value for key, value in flat(run.recipe) if key.partition(".")[0] not in WITHOUT_EFFECT}
            seed = json.dumps([keys.pop(key, None) for key in SEEDS])
            by_seed = found.setdefault(json.dumps(keys, sort_keys=True, default=str), {})
            by_seed.setdefault(seed, []).append(number)
    several = [by_seed for by_seed in found.values() if len(by_seed) > 1]
    for first, *others in (numbers for by_seed in several for numbers in by_seed.values()):
        for number in others:
            runs[number].notes.append(f"in no mean over seeds: it has the recipe and the seed of {runs[first].label}")
    return [[numbers[0] for numbers in by_seed.values()] for by_seed in several]


def _rows(
    runs: Sequence[RunFacts], numbers: Sequence[int], measured: Mapping[tuple[int, str], tuple[str, float]]
) -> Iterator[dict[str, Any]]:
    for stage in runs[numbers[0]].stages:
        for letter in dict.fromkeys(measured[number, stage][0] for number in numbers if (number, stage) in measured):
            counted = [number for number in numbers if measured.get((number, stage), ("",))[0] == letter]
            found = mean_over_seeds([measured[number, stage][1] for number in counted])
            told = [f"{runs[number].label}, {runs[number].state}" for number in numbers if number not in counted]
            notes = [f"without {'; '.join(told)}: where runs drop out the others may flatter the recipe"] if told else []
            notes += [f"no interval: all {found.count} seeds have the same accuracy"] if found.no_spread else []
            interval = found.interval
            yield {
                "runs": [runs[number].label for number in numbers],
                "stage": stage,
                "set": letter,
                "seeds": len(counted),
                "mean": rounded(found.mean),
                "low": rounded(interval.low) if interval else None,
                "high": rounded(interval.high) if interval else None,
                "notes": notes,
            }
