"""What the claims are measured by: numbers read from run folders, with a list of every file that was read."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

Half = Literal["all", "validation", "test"]


@dataclass(frozen=True)
class Runs:
    """The run folders `FOLDER/RECIPE-SEED`."""

    folder: Path
    seeds: tuple[int, ...]
    read: set[Path] = field(default_factory=set)

    def accuracy(self, recipe: str, stage: str, seed: int, half: Half = "all") -> float:
        """Of a stage's student on held-out problems; those with an even number are there to choose by, the others to compare."""
        each = self._result(recipe, stage, seed)["problem_accuracy"]
        wanted = {"all": (0, 1), "validation": (0,), "test": (1,)}[half]
        return fmean(accuracy for problem, accuracy in each.items() if int(problem.rsplit("-", 1)[1]) % 2 in wanted)

    def best(self, recipe: str, stages: tuple[str, ...]) -> str:
        """The stage with the highest mean accuracy over seeds on the validation half."""
        return max(stages, key=lambda stage: fmean(self.accuracy(recipe, stage, seed, "validation") for seed in self.seeds))

    def pass_at(self, k: int, recipe: str, stage: str, seed: int) -> float:
        return float(self._result(recipe, stage, seed)["pass_at"][str(k)])

    def answers(self, recipe: str, stage: str, seed: int) -> list[dict[str, Any]]:
        """Every held-out answer of a stage's student."""
        path = self._stage(recipe, stage, seed) / "evaluation.jsonl"
        self.read.add(path)
        return [json.loads(line) for line in path.open(encoding="utf-8")]

    def ban(self, name: str, stage: str, seed: int) -> float:
        """Accuracy of a stage's student with some words forbidden, from `bans.json`."""
        path = self.folder / f"flexible-{seed}" / "bans.json"
        self.read.add(path)
        return float(json.loads(path.read_text())[stage][name])

    def _result(self, recipe: str, stage: str, seed: int) -> dict[str, Any]:
        path = self._stage(recipe, stage, seed) / "result.json"
        self.read.add(path)
        found: dict[str, Any] = json.loads(path.read_text())["evaluation"]
        return found

    def _stage(self, recipe: str, stage: str, seed: int) -> Path:
        return self.folder / f"{recipe}-{seed}" / "stages" / stage
