"""How a step's cost grows with problems, group size, response length, engine workers and learner ranks: seconds, fitted powers.

    python scripts/bench/scaling.py [--json FILE] [--only problems workers] [--repeats 3]

Whole runs of the recipes of plan_check.py: a tiny student without pretraining, real engines and learners, on a cluster where
workers or ranks are counted. One size changes and the others stay. Responses are sized by the tokens they came to have. The
exponent is the slope of a line through the logarithms of all sizes, beside it that of the last two: what is fixed hides growth at
small sizes. In proportion is 1 for work and -1 for workers; `worse` is whatever exceeds that by a tenth.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plan_check import PHASES, case, run
from powers import exponent
from turns import at_least_one, json_file, machine, write

from rl_distill.tracking.jsonl_tracker import read_metrics

BASE = {"hidden": 64, "layers": 3, "prompts": 8, "group": 8, "tokens": 40}
ON_A_CLUSTER = BASE | {"prompts": 16, "shard": 32, "ranks": 1}
SIZES: dict[str, tuple[dict[str, int], str, tuple[int, ...]]] = {  # by name: the others, the key that changes, its values
    "problems": (BASE, "prompts", (8, 16, 32, 64)),
    "group size": (BASE, "group", (8, 16, 32, 64)),
    "response tokens": (BASE, "tokens", (20, 40, 80, 160)),
    "engine workers": (ON_A_CLUSTER, "engines", (1, 2)),
    "learner ranks": (ON_A_CLUSTER, "ranks", (1, 2)),
}
GROWING = {"engine workers": ("generate", -1), "learner ranks": ("train", -1)}  # the phase in question; else the step, and 1
TOLERANCE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(SIZES), default=list(SIZES), metavar="NAME", help=", ".join(SIZES))
    parser.add_argument("--most", type=at_least_one, help="sizes of each that are measured, the smallest first; none is all")
    parser.add_argument("--repeats", type=at_least_one, default=3, help="runs of each size, of which the median counts")
    parser.add_argument("--json", type=json_file, help="file to write")
    options = parser.parse_args()
    found: dict[str, dict[float, dict[str, float]]] = {}
    for name in options.only:
        others, key, values = SIZES[name]
        turns: dict[int, list[dict[str, float]]] = {value: [] for value in values[: options.most]}
        for _ in range(options.repeats):
            for value, runs in turns.items():
                runs.append(measured(case(**others | {key: value})))
        medians = {
            value: {phase: statistics.median(one[phase] for one in runs) for phase in runs[0]} for value, runs in turns.items()
        }
        found[name] = {one.pop("tokens") if key == "tokens" else value: one for value, one in medians.items()}
    powers = {name: {phase: slopes(sizes, phase) for phase in PHASES} for name, sizes in found.items()}
    print(table(found, powers))
    write(options.json, {"machine": machine(1), "seconds": found, "exponents": powers})


def measured(tree: dict[str, Any]) -> dict[str, float]:
    """Seconds of a step's phases, and tokens of a response."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = run(tree, Path(folder))
        steps = read_metrics(Path(folder) / "metrics.jsonl")
        return seconds | {"tokens": statistics.mean(step["rollout/response_tokens"] for step in steps)}


def slopes(sizes: Mapping[float, Mapping[str, float]], phase: str) -> tuple[float, float]:
    """Exponents over all sizes, and over the last two."""
    points = [(size, seconds[phase]) for size, seconds in sizes.items() if seconds[phase] > 0]
    return (exponent(points), exponent(points[-2:])) if len(points) > 1 else (0.0, 0.0)


def table(
    found: Mapping[str, Mapping[float, Mapping[str, float]]], powers: Mapping[str, Mapping[str, tuple[float, float]]]
) -> str:
    from rl_distill.markdown_table import markdown

    rows = []
    for name, sizes in found.items():
        looked, proportional = GROWING.get(name, ("step", 1))
        for phase in dict.fromkeys(("generate", "train", "sync", "step")):
            seconds = ", ".join(f"{one[phase]:.3f}" for one in sizes.values())
            whole, end = powers[name][phase]
            verdict = "linear" if max(whole, end) <= proportional + TOLERANCE else "worse"
            label = f"{name}: {', '.join(f'{size:.3g}' for size in sizes)}" if phase == "generate" else ""
            wanted = proportional == 1 or phase == looked
            rows.append((label, phase, seconds, f"{whole:.2f}", f"{end:.2f}", verdict if wanted else "-"))
    return markdown(("size", "phase", "seconds", "exponent", "at the end", "linear or worse"), rows)


if __name__ == "__main__":
    main()
