"""Kill parts of a run at random moments, and see that it ends as if nothing had happened.

    python scripts/chaos.py --kill engine=20 learner=20 driver=20 --stop engine=2 learner=2

An undisturbed run comes first. Then the same recipe runs again and again, and its workers (listed in workers.json) or the process
that drives it get SIGKILL, or SIGSTOP, which leaves them silent. A driver that was killed is started again by the same command.

A synchronous run must end with the undisturbed one's ledger, metrics and weights, to the bit. One that samples ahead meets other
weights when it is disturbed, so that its ledger must hold the same problems and seeds in the same steps, each once.
Exit code 1 if anything differs, or if a worker outlives a killed driver.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import yaml

STAGE = "grpo"
SETTLED_SECONDS = 15.0  # for the workers of a killed driver to be gone
RUN_SECONDS = 600.0  # for a run to get from one step to the next
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class Strike:
    """What is done to whom: `role` is engine, learner, scorer or driver."""

    role: str
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    seconds  from the strike to the next step that was finished
    problem  what was found afterwards; empty if all was well
    """

    run: int
    role: str
    how: str
    step: int
    delay: float
    seconds: float
    problem: str


def recipe(folder: Path, *, steps: int, ahead: int, engines: int, ranks: int) -> dict[str, Any]:
    """A tiny run with every kind of worker: a reference to compare with, and a checkpoint at every third step."""
    corpus = {"name": "arithmetic", "attempts": "corpus", "num_problems": 16, "levels": [1]}
    rate = {"learning_rate": 1e-3, "schedule": "constant"}
    small = {"hidden_size": 32, "intermediate_size": 64, "num_layers": 2, "num_key_value_heads": 1, "max_context": 160}
    pretraining = {
        "algorithm": {"name": "sft", "traces": "all"},
        "source": {"name": "dataset", "problems": corpus, "groups_per_step": 2},
        "learner": rate,
        "steps": 2,
    }
    rollouts = {
        "name": "rollout",
        "problems": {"name": "arithmetic", "num_problems": 32, "levels": [1]},
        "rewards": [{"name": "soft_overlong", "max_tokens": 60, "cache_tokens": 60}],
        "sampling": {"max_tokens": 60},
        "prompts_per_step": 4,
        "group_size": 4,
        "max_staleness": ahead,
    }
    stage = {"name": STAGE, "algorithm": {"name": "grpo"}, "source": rollouts, "learner": rate, "steps": steps}
    return {
        "name": "chaos",
        "run_dir": str(folder / "run"),
        "student": {"model": {"tokenizer": {"name": "arithmetic"}, **small, "pretraining": pretraining}},
        "stages": [stage],
        "engine": {"name": "hf", "shard_size": 4},
        "checkpoints": {"every_steps": 3},
        "evaluation": {
            "problems": {"name": "arithmetic", "split": "heldout", "num_problems": 8, "levels": [1]},
            "num_samples": 1,
            "sampling": {"max_tokens": 60},
            "every_steps": 10,
        },
        "tracking": {"console": "quiet", "trajectories_every": 1},
        "cluster": {
            "name": "ray",
            "object_store_mib": 200,
            "patience_seconds": 20.0,
            "engine": {"workers": engines},
            "learner": {"ranks": ranks},
            "retries": 10,
        },
    }


class Run:
    """A run of a recipe, started as often as it takes."""

    def __init__(self, file: Path, run_dir: Path, cache: Path) -> None:
        self.run_dir = run_dir
        self._command = [sys.executable, "-m", "rl_distill", "train", str(file), f"run_dir={run_dir}"]
        self._environment = os.environ | {"RL_DISTILL_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        self._log = run_dir.with_name(f"{run_dir.name}.log")
        self.start()

    def start(self) -> None:
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )  # fmt: skip

    def steps(self) -> int:
        """Steps of the stage in the metrics."""
        path = self.run_dir / "metrics.jsonl"
        return sum(f'"{STAGE}"' in line for line in path.read_text().splitlines()) if path.exists() else 0

    def wait_for_step(self, steps: int) -> bool:
        """Wait until more than so many steps are finished; False if the run ended before."""
        ends = time.monotonic() + RUN_SECONDS
        while self.steps() <= steps:
            if self.process.poll() is not None:
                return False
            if time.monotonic() > ends:
                raise TimeoutError(f"{self.run_dir} stood still for {RUN_SECONDS:g} s")
            time.sleep(0.02)
        return True

    def workers(self) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = json.loads((self.run_dir / "workers.json").read_text())
        except (OSError, ValueError):
            return []
        return rows

    def end(self) -> str:
        """Wait for the end; what went wrong, or nothing."""
        code = self.process.wait(timeout=RUN_SECONDS)
        return "" if code == 0 else f"exit code {code}: {self._log.read_text()[-500:]}"


def strike(run: Run, number: int, planned: Strike, delay: float) -> Outcome | None:
    """Strike at a random moment after a step; None if the run had ended or shows no such worker."""
    before = run.steps()
    if not run.wait_for_step(before):
        return None
    time.sleep(delay)
    listed = run.workers()
    pids = [row["pid"] for row in listed if row["role"] == planned.role] if planned.role != "driver" else [run.process.pid]
    if run.process.poll() is not None or not pids:
        return None
    step, problem = run.steps(), ""
    os.kill(random.choice(pids), SIGNALS[planned.how])
    started = time.monotonic()
    if planned.role == "driver":
        run.process.wait()
        problem = survivors([row["pid"] for row in listed])
        run.start()
    if not run.wait_for_step(step):
        problem = problem or run.end()
    seconds = time.monotonic() - started
    return Outcome(run=number, role=planned.role, how=planned.how, step=step, delay=delay, seconds=seconds, problem=problem)


def survivors(pids: Sequence[int]) -> str:
    ends = time.monotonic() + SETTLED_SECONDS
    while alive := [pid for pid in pids if psutil.pid_exists(pid)]:
        if time.monotonic() > ends:
            return f"workers {alive} outlived the driver"
        time.sleep(0.1)
    return ""


def difference(calm: Path, run_dir: Path, *, exact: bool) -> str:
    """What a run has otherwise than the undisturbed one, in a few words."""
    if exact and (calm / "final" / "model.safetensors").read_bytes() != (run_dir / "final" / "model.safetensors").read_bytes():
        return "other final weights"
    for name in ("ledger.jsonl", *(["metrics.jsonl"] if exact else [])):
        for expected, found in zip(rows(calm / name, exact), rows(run_dir / name, exact), strict=False):
            if expected != found:
                return f"{name} differs at step {expected.get('step')}"
        if len(list(rows(calm / name, exact))) != len(list(rows(run_dir / name, exact))):
            return f"{name} has another number of lines"
    return ""


def rows(path: Path, exact: bool) -> Iterator[dict[str, Any]]:
    """Lines of the stage without what a clock says; of one that sampled ahead, the steps, problems and seeds."""
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["stage"] != STAGE:
            continue
        if exact:
            yield {key: value for key, value in row.items() if not key.startswith("time/")}
        else:
            yield {"step": row["step"], "problem": row["problem"], "seeds": [attempt["seed"] for attempt in row["attempts"]]}


def main() -> int:
    given = arguments()
    draw = random.Random(given.seed)
    strikes = [Strike(role, how) for how in SIGNALS for role, count in getattr(given, how) for _ in range(count)]
    draw.shuffle(strikes)
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        folder = Path(given.folder or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "chaos.yaml"
        file.write_text(
            yaml.safe_dump(recipe(folder, steps=given.steps, ahead=given.ahead, engines=given.engines, ranks=given.ranks))
        )
        calm = Run(file, folder / "calm", folder / "cache")
        if problem := calm.end():
            print(f"the undisturbed run failed: {problem}", file=sys.stderr)
            return 1
        outcomes = list(campaign(strikes, file, folder, draw, given))
    if given.json:
        given.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    print(table(outcomes))
    return 1 if any(outcome.problem for outcome in outcomes) else 0


def campaign(
    strikes: list[Strike], file: Path, folder: Path, draw: random.Random, given: argparse.Namespace
) -> Iterator[Outcome]:
    """Runs until every strike has hit."""
    number = 0
    while strikes:
        run = Run(file, folder / f"run-{number}", folder / "cache")
        hit: list[Outcome] = []
        while strikes and len(hit) < given.per_run:
            outcome = strike(run, number, strikes[-1], draw.uniform(0, given.delay))
            if outcome is None:
                break
            strikes.pop()
            hit.append(outcome)
        problem = run.end() or difference(folder / "calm", run.run_dir, exact=given.ahead == 0)
        for outcome in hit:
            one = outcome if outcome.problem or not problem else Outcome(**asdict(outcome) | {"problem": problem})
            print(
                f"run {one.run}: {one.how} {one.role} at step {one.step}: {one.problem or 'as if nothing had happened'}, "
                f"next step after {one.seconds:.1f} s",
                flush=True,
            )
            yield one
        number += 1


def table(outcomes: Sequence[Outcome]) -> str:
    lines = ["| what | times | as if nothing had happened | seconds to the next step, median | most |", "|---|--:|--:|--:|--:|"]
    for kind in sorted({(outcome.how, outcome.role) for outcome in outcomes}):
        of_kind = [outcome for outcome in outcomes if (outcome.how, outcome.role) == kind]
        seconds = [outcome.seconds for outcome in of_kind]
        well = sum(not outcome.problem for outcome in of_kind)
        lines.append(f"| {kind[0]} {kind[1]} | {len(of_kind)} | {well} | {median(seconds):.1f} | {max(seconds):.1f} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for how in SIGNALS:
        parser.add_argument(f"--{how}", nargs="*", default=[], type=counted, metavar="ROLE=TIMES")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--per-run", type=int, default=3, help="strikes in one run")
    parser.add_argument("--delay", type=float, default=2.5, help="seconds from a step to the strike, at most")
    parser.add_argument("--ahead", type=int, default=0, help="source.max_staleness")
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where the runs go and stay; none removes them")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def counted(text: str) -> tuple[str, int]:
    role, _, count = text.partition("=")
    if role not in ("engine", "learner", "scorer", "driver") or not count.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give engine, learner, scorer or driver and a number, as in engine=20")
    return role, int(count)


if __name__ == "__main__":
    sys.exit(main())
