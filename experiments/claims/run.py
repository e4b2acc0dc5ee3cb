"""Trains every recipe of this folder for every seed, two at a time; writes tables of verdicts and routes, a figure for each.

run: python experiments/claims/run.py

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

from claims import CLAIMS
from measured import Runs
from routes_table import routes_tables
from verdicts import STUDENT_T, written

HERE = Path(__file__).parent
TRACES = HERE.parent / "distillation" / "teacher_traces.py"
FROM_SFT = ("redi", "preferences", "alpha", "collapse", "pass_at_k")
FROM_BASE = ("zero_rl", "data_size", "filtering", "flexible", "rl_after", "routes")
BASES = ("start", "routes_rules")  # each trains a base student of its own


class Job(NamedTuple):
    """A command, what it leaves behind when it is done, and where its output goes."""

    command: list[str]
    result: Path
    log: Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="each with a base student of its own")
    parser.add_argument("--runs", type=Path, default=Path("runs/claims"), help="where the run folders are made")
    parser.add_argument("--workers", type=int, default=2, help="recipes that train at a time, one thread each")
    options = parser.parse_args()
    if not 2 <= len(set(options.seeds)) == len(options.seeds) <= max(STUDENT_T):
        parser.error(f"--seeds: give two to {max(STUDENT_T)} different ones; one seed has no interval")
    options.runs.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.workers) as pool:
        for wave in _waves(options.runs, options.seeds):
            for failure in filter(None, pool.map(_done, wave)):
                print(failure, file=sys.stderr)
                return 1
    print(written(CLAIMS, Runs(options.runs, tuple(options.seeds)), options.runs))
    routes = routes_tables(options.runs, options.seeds)
    (options.runs / "routes.md").write_text(routes + "\n")
    print(f"\n{routes}")
    return 0


def _waves(runs: Path, seeds: Sequence[int]) -> Iterator[list[Job]]:
    """Jobs that need nothing of each other, wave after wave."""
    yield [_training(runs, name, seed, f"student.model.seed={seed}") for seed in seeds for name in BASES]
    start = runs / f"start-{seeds[0]}" / "stages" / "sft" / "student"
    yield [_job(runs, "teacher", ["train", str(HERE / "teacher.yaml"), f"student.model={start}", f"run_dir={runs / 'teacher'}"])]
    yield [_traces(runs)]
    yield [
        _training(runs, name, seed, f"student.model={runs / f'start-{seed}' / 'stages' / stage / 'student'}")
        for seed in seeds
        for stage, names in (("sft", FROM_SFT), ("base", FROM_BASE))
        for name in names
    ]
    yield [_bans(runs, seed) for seed in seeds]


def _training(runs: Path, name: str, seed: int, *overrides: str) -> Job:
    folder = runs / f"{name}-{seed}"
    taught = ("sft_strong", "sft_strong_flops") if name == "zero_rl" else ()
    more = [f"stages.{stage}.source.problems.path={_traces(runs).result}" for stage in taught]
    return _job(runs, folder.name, ["train", str(HERE / f"{name}.yaml"), f"seed={seed}", f"run_dir={folder}", *overrides, *more])


def _job(runs: Path, name: str, arguments: list[str]) -> Job:
    command = [sys.executable, "-m", "rl_distill", *arguments, "tracking.console=quiet"]
    return Job(command, runs / name / "summary.json", runs / f"{name}.log")


def _traces(runs: Path) -> Job:
    out = runs / "teacher-traces.jsonl"
    command = [sys.executable, str(TRACES), "--teacher", str(runs / "teacher" / "final"), "--out", str(out), "--count", "1200"]
    return Job(command, out, runs / "teacher-traces.log")


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
