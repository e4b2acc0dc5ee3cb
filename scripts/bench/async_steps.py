"""Steps that wait for sampling against steps that sample 1, 2 and 4 ahead (`max_staleness`), beside what the planner predicts.

    python scripts/bench/async_steps.py [--json FILE] [--latency 0.02] [--ahead 0 1 2 4] [--steps 24] [--repeats 3]

Runs with one engine worker and one learner rank in Ray processes of their own, one after another, in turn; medians over the
repeats. Each decoding step of the engine also sleeps for `--latency` seconds, as one that waits for a remote server does, so that
sampling leaves the cores to training; with `--latency 0` both compute all the time. The planner gets the machine as it is
measured, what a cluster adds (both as in plan_check.py), the latency as part of a decoding step, and the lengths of a run that
waits. The gain is how many times as fast a step is as in that run. Idle shares are the run's own metrics; of the run that waits
they follow from its phases.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plan_check import SKIPPED, case, overheads, written
from turns import at_least_one, at_least_zero, json_file, machine, write

from rl_distill.cluster import engine_fleet
from rl_distill.cluster.engine_worker import EngineWorker
from rl_distill.config import parse
from rl_distill.planning import plan as planning
from rl_distill.planning.calibration import measured
from rl_distill.planning.forecast import STALENESS
from rl_distill.planning.hardware import Number
from rl_distill.planning.plan import Question
from rl_distill.recipe import Recipe
from rl_distill.tracking.jsonl_tracker import read_metrics
from rl_distill.training.run import train

SIZES = {"hidden": 96, "layers": 3, "prompts": 16, "group": 8, "tokens": 48, "shard": 64, "ranks": 1}
Facts = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=at_least_zero, default=0.02, help="seconds that each decoding step waits")
    parser.add_argument("--ahead", type=int, nargs="+", choices=STALENESS, default=list(STALENESS), help="bounds on staleness")
    parser.add_argument("--steps", type=at_least_one, default=24, help="of each run")
    parser.add_argument("--repeats", type=at_least_one, default=3, help="runs of each, of which the median counts")
    parser.add_argument("--json", type=json_file, help="file to write")
    options = parser.parse_args()
    bounds = sorted({0, *options.ahead})
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        hardware = replace(measured(threads=1), **overheads(scratch))
        engine_fleet.EngineWorker = waiting(options.latency)  # type: ignore[misc]
        runs: dict[int, list[Facts]] = {bound: [] for bound in bounds}
        for turn in range(options.repeats):
            for bound, of_bound in runs.items():
                of_bound.append(run(bound, options.steps, scratch / f"{bound}-{turn}"))
        found = {
            bound: {name: statistics.median(one[name] for one in of_bound) for name in of_bound[0]}
            for bound, of_bound in runs.items()
        }
        waited = Number(value=hardware.hf_pass_seconds.value + options.latency, origin="measured", source="with its latency")
        machine_file = written(replace(hardware, hf_pass_seconds=waited), scratch)
        predicted = {bound: forecast(bound, machine_file, scratch / "0-0") for bound in bounds}
    print(table(found, predicted))
    write(
        options.json, {"machine": machine(1), "latency": options.latency, "runs": runs, "medians": found, "predicted": predicted}
    )


def waiting(seconds: float) -> type[EngineWorker]:
    """Engine workers that sleep before each decoding step."""

    class WaitingWorker(EngineWorker):
        def ready(self) -> int:
            if self.engine is None:
                super().ready()
                between = self.engine.before_step
                self.engine.before_step = lambda: (time.sleep(seconds), between())[1]
            return super().ready()

    return WaitingWorker


def recipe(ahead: int, steps: int) -> dict[str, Any]:
    tree = case(**SIZES, ahead=ahead)
    tree["stages"][0]["steps"] = steps
    return tree


def run(ahead: int, steps: int, folder: Path) -> Facts:
    """Means over a run's steps, without the first ones and those that have nothing left to sample."""
    train(parse(Recipe, {**recipe(ahead, steps), "run_dir": str(folder)}), say=lambda line: None)
    rows = read_metrics(folder / "metrics.jsonl")
    rows = rows[SKIPPED + ahead : len(rows) - ahead] or rows
    found = {name: statistics.mean(row[f"time/{name}"] for row in rows) for name in ("step", "generate", "train", "sync")}
    idle = {"engine": 1 - found["generate"] / found["step"], "learner": found["generate"] / found["step"]}
    if ahead:
        idle = {name: statistics.mean(row[f"{name}/idle_fraction"] for row in rows) for name in idle}
        found["staleness"] = statistics.mean(row["staleness/mean"] for row in rows)
    return found | {f"{name}_idle": share for name, share in idle.items()}


def forecast(ahead: int, machine_file: Path, lengths: Path) -> Facts:
    plan = planning.plan(parse(Recipe, recipe(ahead, 24)), Question(machine=machine_file, lengths_from=lengths))
    found = plan.stages[0].forecast
    return {
        "step": found.step,
        "gain": found.gain(ahead),
        "engine_idle": 1 - found.engine_busy,
        "learner_idle": 1 - found.learner_busy,
    }


def table(found: Mapping[int, Facts], predicted: Mapping[int, Facts]) -> str:
    """The share of a gain counts from 1, which is no gain."""
    from rl_distill.markdown_table import markdown

    header = ("ahead", "step, s", "predicted", "gain", "predicted", "share of it", "engine idle", "predicted")
    rows = []
    for bound, one in found.items():
        guess, gain = predicted[bound], found[0]["step"] / one["step"]
        cells = (
            f"{one['step']:.3f}",
            f"{guess['step']:.3f}",
            f"{gain:.2f}",
            f"{guess['gain']:.2f}",
            f"{(gain - 1) / (guess['gain'] - 1):.2f}" if guess["gain"] > 1 else "-",
        )
        idle = (f"{facts[key]:.0%}" for key in ("engine_idle", "learner_idle") for facts in (one, guess))
        rows.append((str(bound), *cells, *idle, f"{one.get('staleness', 0.0):.2f}"))
    return markdown((*header, "learner idle", "predicted", "mean staleness"), rows)


if __name__ == "__main__":
    main()
