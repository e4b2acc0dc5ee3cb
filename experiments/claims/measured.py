"""What the claims are measured by: numbers read from run folders, with a list of every file that was read."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rl_distill.analysis.costs import Assumed, RouteCost, run_costs

Half = Literal["all", "validation", "test"]
STUDENT_WEIGHTS = 163_840  # the teachers have as many, or are programs that are charged as if they had
AMOUNTS = ("sampled_tokens", "trained_tokens", "teacher_tokens", "all_flops")


def words(text: str) -> list[str]:
    """Words and signs, one by one."""
    return re.findall(r"\w+|[^\w\s]", text)


@dataclass(frozen=True)
class Runs:
    """The run folders `FOLDER/RECIPE-SEED`."""

    folder: Path
    seeds: tuple[int, ...]
    read: set[Path] = field(default_factory=set)
    stages: set[tuple[str, str]] = field(default_factory=set)  # recipe and stage of what was read

    def forget(self) -> None:
        """What was read so far: the next claim rests on other files."""
        self.read.clear()
        self.stages.clear()

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

    def ban(self, name: str, seed: int) -> float:
        """Accuracy of the reflective student with some words forbidden, from `bans.json`."""
        path = self.folder / f"flexible-{seed}" / "bans.json"
        self.read.add(path)
        return float(json.loads(path.read_text())[name]["accuracy"])

    def costs(self) -> dict[str, dict[str, float]]:
        """Of each stage that was read, with those it starts from: means over seeds, of tokens and of FLOPs with the teacher's."""
        stages = sorted(stage for stage in self.stages if stage[1] != "base")
        return {f"{recipe}/{stage}": self.cost(recipe, stage) for recipe, stage in stages}

    def cost(self, recipe: str, stage: str) -> dict[str, float]:
        found = [self._routes(recipe, seed)[stage].cost for seed in self.seeds]
        return {amount: round(fmean(getattr(cost, amount) for cost in found)) for amount in AMOUNTS}

    def _routes(self, recipe: str, seed: int) -> dict[str, RouteCost]:
        costs = run_costs(self.folder / f"{recipe}-{seed}", Assumed(teacher_weights=STUDENT_WEIGHTS))
        return {route.name: route for route in costs.routes}

    def _result(self, recipe: str, stage: str, seed: int) -> dict[str, Any]:
        path = self._stage(recipe, stage, seed) / "result.json"
        self.read.add(path)
        found: dict[str, Any] = json.loads(path.read_text())["evaluation"]
        return found

    def _stage(self, recipe: str, stage: str, seed: int) -> Path:
        self.stages.add((recipe, stage))
        return self.folder / f"{recipe}-{seed}" / "stages" / stage
