"""Trains the recipes of this folder for every seed, two at a time; writes the table of verdicts and a figure for each.

run: python experiments/claims/run.py
     python experiments/claims/run.py --routes     the four routes at equal budgets instead: another table

What is finished is not run again, so an interrupted call continues, and one with more seeds adds to what is there.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from claims import CLAIMS, STRONG, STRONG_FLOPS
from measured import Runs
from routes_table import routes_tables
from verdicts import written

HERE = Path(__file__).parent
TRACES = HERE.parent / "distillation" / "teacher_traces.py"
FROM_SFT = ("redi", "preferences", "alpha", "collapse", "pass_at_k")
FROM_BASE = ("zero_rl", "data_size", "filtering", "flexible", "rl_after")


class Job(NamedTuple):
    """A command, what it leaves behind when it is done, and where its output goes."""

    command: list[str]
    result: Path
    log: Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="each with a base student of its own")
    parser.add_argument("--runs", type=Path, default=Path("runs/claims"), help="where the run folders are made")
    parser.add_argument("--routes", action="store_true", help="which way is worth it, instead of the twelve claims")
    parser.add_argument("--workers", type=int, default=2, help="recipes that train at a time, one thread each")
    options = parser.parse_args()
    if not 2 <= len(set(options.seeds)) == len(options.seeds):
        parser.error("--seeds: give two or more, all different; one seed has no interval")
    options.runs.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.workers) as pool:
        for wave in (_route_waves if options.routes else _claim_waves)(options.runs, options.seeds):
            for failure in filter(None, pool.map(_done, wave)):
                print(failure, file=sys.stderr)
                return 1
    runs = Runs(options.runs, tuple(options.seeds))
    if options.routes:
        table = routes_tables(runs)
        (options.runs / "routes.md").write_text(table + "\n")
    else:
        table = written(CLAIMS, runs, options.runs)
    print(table)
    return 0


def _claim_waves(runs: Path, seeds: Sequence[int]) -> Iterator[list[Job]]:
    """Jobs that need nothing of each other, wave after wave."""
    yield [_start(runs, seed) for seed in seeds]
    yield [_training(runs, "teacher", seed, f"student.model={_student(runs, 'sft', seed)}") for seed in seeds]
    yield [_traces(runs, seed) for seed in seeds]
    yield [
        _training(runs, name, seed, f"student.model={_student(runs, stage, seed)}", *_taught(runs, name, seed))
        for seed in seeds
        for stage, names in (("sft", FROM_SFT), ("base", FROM_BASE))
        for name in names
    ]
    yield [_bans(runs, seed) for seed in seeds]


def _route_waves(runs: Path, seeds: Sequence[int]) -> Iterator[list[Job]]:
    yield [
        job for seed in seeds for job in (_start(runs, seed), _training(runs, "routes_rules", seed, f"student.model.seed={seed}"))
    ]
    yield [_training(runs, "routes", seed, f"student.model={_student(runs, 'base', seed)}") for seed in seeds]


def _start(runs: Path, seed: int) -> Job:
    return _training(runs, "start", seed, f"student.model.seed={seed}")


def _student(runs: Path, stage: str, seed: int) -> Path:
    return runs / f"start-{seed}" / "stages" / stage / "student"


def _taught(runs: Path, name: str, seed: int) -> list[str]:
    """The traces of the seed's own teacher, where a recipe reads them."""
    stages = (*STRONG, *STRONG_FLOPS) if name == "zero_rl" else ()
    return [f"stages.{stage}.source.problems.path={_traces(runs, seed).result}" for stage in stages]


def _training(runs: Path, name: str, seed: int, *overrides: str) -> Job:
    folder = runs / f"{name}-{seed}"
    return _job(runs, folder.name, ["train", str(HERE / f"{name}.yaml"), f"seed={seed}", f"run_dir={folder}", *overrides])


def _job(runs: Path, name: str, arguments: list[str]) -> Job:
    command = [sys.executable, "-m", "rl_distill", *arguments, "tracking.console=quiet"]
    return Job(command, runs / name / "summary.json", runs / f"{name}.log")


def _traces(runs: Path, seed: int) -> Job:
    teacher = runs / f"teacher-{seed}"
    out = teacher / "traces.jsonl"
    command = [sys.executable, str(TRACES), "--teacher", str(teacher / "final"), "--out", str(out), "--count", "1200"]
    return Job([*command, "--seed", str(seed)], out, runs / f"traces-{seed}.log")


def _bans(runs: Path, seed: int) -> Job:
    out = runs / f"flexible-{seed}" / "bans.json"
    return Job([sys.executable, str(HERE / "bans.py"), str(out.parent), "--seed", str(seed)], out, runs / f"bans-{seed}.log")


def _done(job: Job) -> str | None:
    """Runs a job that is not done; says what failed, if it failed."""
    if job.result.exists():
        return None
    print(f"{job.log.stem}: begun", flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with job.log.open("w") as log:
        code = subprocess.run(job.command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    return None if code == 0 else f"{job.log.stem}: failed, exit code {code}; see {job.log}. The same command continues."


if __name__ == "__main__":
    sys.exit(main())
