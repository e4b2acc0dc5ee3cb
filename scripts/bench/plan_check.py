"""What `rl-distill plan` predicts against what runs take, phase by phase.

    python scripts/bench/plan_check.py [--only NAME ...] [--repeats 3] [--cpu-time] [--json FILE]

Each recipe runs `--repeats` times, in turns, with a seeded student without pretraining whose weights hardly move. Right before
each run the machine is measured anew, on models that no checked run has (`rl_distill.planning.calibration`); what a cluster adds
comes from one run of another shape, which is not checked. The planner is given the lengths that a run's ledger tells, and nothing
else of it.

Others may use the same cores, which only ever adds time. So the fastest counts on both sides: in the calibration of its
repetitions, in a run of its steps the fastest third (its first two are left out). A figure is the median over the repetitions;
so is a prediction. With --cpu-time, for runs in one process, calibration and runs count the seconds that the process had a core,
which on one thread are those of an idle machine.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from turns import at_least_one, json_file

from rl_distill.config import dump, parse
from rl_distill.planning import plan as planning
from rl_distill.planning.calibration import measured
from rl_distill.planning.hardware import Hardware, Number
from rl_distill.planning.plan import Plan, Question
from rl_distill.recipe import Recipe
from rl_distill.tracking.jsonl_tracker import read_metrics
from rl_distill.training.run import train

PHASES = ("generate", "score", "train", "sync", "step")
SKIPPED = 2  # steps of a run until caches are warm


def case(
    *,
    hidden: int,
    layers: int,
    prompts: int,
    group: int,
    tokens: int,
    shard: int = 512,
    ranks: int = 0,
    engines: int = 1,
    ahead: int = 0,
) -> dict[str, Any]:
    """A recipe; `ranks` 0 is one process."""
    student = {
        "tokenizer": {"name": "arithmetic"},
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_layers": layers,
        "max_context": 256,
    }
    source = {
        "name": "rollout",
        "problems": {"name": "arithmetic", "num_problems": 400},
        "rewards": [{"name": "soft_overlong", "max_tokens": tokens, "cache_tokens": tokens}],  # a random student answers nothing
        "sampling": {"max_tokens": tokens},
        "prompts_per_step": prompts,
        "group_size": group,
        "max_staleness": ahead,
    }
    learner = {"learning_rate": 1e-9, "schedule": "constant", "warmup_steps": 0, "micro_batch_tokens": 4096}
    # whitening gives flat groups credit too: without, they would be run forward only, which no plan can know
    algorithm = {"name": "grpo", "kl_coef": 0, "whitening": "token", **({"correction": "token_tis"} if ahead else {})}
    stage = {"name": "grpo", "algorithm": algorithm, "source": source, "learner": learner, "steps": 14}
    cluster = {"name": "ray", "learner": {"ranks": ranks}, "engine": {"workers": engines}, "object_store_mib": 200}
    return {
        "name": "plan-check",
        "student": {"model": student},
        "stages": [stage],
        "engine": {"name": "hf", "shard_size": shard},
        "tracking": {"console": "quiet", "trajectories_every": None},
        "checkpoints": {"every_steps": 100},
        "alarms": {name: {"action": "ignore"} for name in ("flat_reward", "no_update")},
        **({"cluster": cluster} if ranks else {}),
    }


OVERHEADS = case(hidden=32, layers=2, prompts=8, group=4, tokens=16, shard=16, ranks=1)
CASES = {
    "small": case(hidden=64, layers=3, prompts=16, group=8, tokens=40),
    "long": case(hidden=64, layers=3, prompts=8, group=4, tokens=160),
    "deep": case(hidden=64, layers=8, prompts=8, group=8, tokens=48),
    "wide": case(hidden=192, layers=4, prompts=8, group=8, tokens=48),
    "large_group": case(hidden=96, layers=2, prompts=4, group=64, tokens=64),
    "ray": case(hidden=96, layers=3, prompts=16, group=8, tokens=48, shard=64, ranks=1),
    "ray_two_engines": case(hidden=96, layers=3, prompts=16, group=8, tokens=48, shard=32, ranks=1, engines=2),
    "ray_one_ahead": case(hidden=96, layers=3, prompts=16, group=8, tokens=48, shard=64, ranks=1, ahead=1),
}


def run(tree: dict[str, Any], folder: Path) -> dict[str, float]:
    """Seconds of a run's steps by phase: the mean over the third of its steps that were fastest as a whole."""
    train(parse(Recipe, {**tree, "run_dir": str(folder)}), say=lambda line: None)
    steps = sorted(read_metrics(folder / "metrics.jsonl")[SKIPPED:], key=lambda step: step["time/step"])
    fastest = steps[: max(1, len(steps) // 3)]
    return {name: statistics.mean(step[f"time/{name}"] for step in fastest) for name in PHASES}


def predicted(tree: dict[str, Any], machine: Path, folder: Path) -> tuple[dict[str, float], Plan]:
    found = planning.plan(parse(Recipe, tree), Question(machine=machine, lengths_from=folder))
    (stage,) = found.stages
    times = {name: getattr(stage.forecast.phases, name) for name in PHASES[:-1]}
    if stage.work.max_staleness:  # what is left of sampling is waiting for it
        times["generate"] = stage.forecast.step - stage.forecast.phases.rest
    return {**times, "step": stage.forecast.step}, found


def overheads(scratch: Path) -> dict[str, Number]:
    """What a cluster adds to a shard, to an optimizer step and to an update, from one small run."""
    hardware = measured(threads=1)
    found = run(OVERHEADS, scratch / "overheads")
    guess, plan = predicted(OVERHEADS, written(hardware, scratch), scratch / "overheads")
    work, layout = plan.stages[0].work, plan.layout
    num_shards = -(-len(work.responses) // work.shard_size)
    shard = max(1e-3, hardware.shard_seconds.value + (found["generate"] - guess["generate"]) / num_shards * layout.engines)
    rank = max(0.0, hardware.rank_step_seconds.value + found["train"] - guess["train"])
    tensor = max(0.0, found["sync"] - 2 * shard) / work.shape.tensors
    values = {"shard_seconds": shard, "rank_step_seconds": rank, "tensor_seconds": tensor}
    print("a cluster's own: " + ", ".join(f"{name} {value:.3g}" for name, value in values.items()), flush=True)
    source = "a small run on this machine's cluster"
    return {name: Number(value=value, origin="measured", source=source) for name, value in values.items()}


def written(hardware: Hardware, scratch: Path) -> Path:
    path = scratch / "machine.yaml"
    path.write_text(json.dumps(dump(hardware)))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repeats", type=at_least_one, default=3)
    parser.add_argument(
        "--cpu-time", action="store_true", help="leave out runs on a cluster, and the time that others had the core"
    )
    parser.add_argument("--json", type=json_file)
    given = parser.parse_args()
    if given.cpu_time:
        given.only = [name for name in given.only if "cluster" not in CASES[name]]
        time.perf_counter = time.process_time  # the clock of the loop and of the calibration
    report: dict[str, Any] = {
        "load_before": os.getloadavg()[0],
        "repeats": given.repeats,
        "cpu_time": given.cpu_time,
        "cases": {},
    }
    truths: dict[str, list[dict[str, float]]] = {name: [] for name in given.only}
    guesses: dict[str, list[dict[str, float]]] = {name: [] for name in given.only}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        of_cluster = overheads(scratch) if any("cluster" in CASES[name] for name in given.only) else {}
        for number in range(given.repeats):
            for name in given.only:
                hardware = measured(threads=1)
                machine = written(replace(hardware, **of_cluster) if "cluster" in CASES[name] else hardware, scratch)
                place = scratch / f"{name}-{number}"
                truths[name].append(run(CASES[name], place))
                guesses[name].append(predicted(CASES[name], machine, place)[0])
        print(f"{'':16}" + "".join(f"{phase:>26}" for phase in PHASES) + "   (measured, predicted, ratio)")
        for name in given.only:
            truth, guess = (
                {phase: statistics.median(one[phase] for one in found[name]) for phase in PHASES} for found in (truths, guesses)
            )
            ratio = guess["step"] / truth["step"]
            spread = [one["step"] / truth["step"] for one in truths[name]]
            report["cases"][name] = {"measured": truth, "predicted": guess, "ratio": ratio, "spread": [min(spread), max(spread)]}
            cells = "".join(
                f"{truth[phase]:>10.4f}{guess[phase]:>10.4f}{_ratio(guess[phase], truth[phase]):>6}" for phase in PHASES
            )
            print(f"{name:16}{cells}   repetitions x{min(spread):.2f} to x{max(spread):.2f}", flush=True)
    worst = max(abs(one["ratio"] - 1) for one in report["cases"].values())
    print(f"largest error of a step: {worst:.0%}; load average now {os.getloadavg()[0]:.1f}")
    if given.json:
        given.json.write_text(json.dumps(report | {"worst": worst}, indent=2) + "\n")


def _ratio(guess: float, truth: float) -> str:
    return f"{guess / truth:.2f}" if truth > 1e-4 else "-"


if __name__ == "__main__":
    main()
