"""Accuracy of each route over several runs of routes.yaml, and what it cost the teacher in tokens.

run: python experiments/distillation/routes_table.py runs/routes-0 runs/routes-1 runs/routes-2
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev

from rl_distill.tracking import read_metrics
from rl_distill.training.run_folder import RECORDS

STAGES = ("sft", "kd", "gkd", "opd")
STUDENT_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # 97.5 % quantile, by number of runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs, two to five")
    parser.add_argument("--traces", type=Path, default=Path("runs/distillation-traces.jsonl"), help="what sft and kd read")
    options = parser.parse_args()
    written = [sum(len(one["token_ids"]) for one in json.loads(line)["trajectories"]) for line in options.traces.open()]
    for stage in ("base", *STAGES):
        accuracy = [_accuracy(run, stage) for run in options.runs]
        half = STUDENT_T[len(accuracy)] * stdev(accuracy) / len(accuracy) ** 0.5
        tokens = [_teacher_tokens(run, stage, written) for run in options.runs]
        each = " | ".join(f"{one:.3f}" for one in accuracy)
        print(f"| {stage} | {each} | {fmean(accuracy):.3f} ± {half:.3f} | {fmean(tokens):,.0f} |")


def _accuracy(run: Path, stage: str) -> float:
    return float(json.loads((run / "stages" / stage / "result.json").read_text())["evaluation"]["accuracy"])


def _teacher_tokens(run: Path, stage: str, written: list[int]) -> float:
    """Tokens that the teacher read in this stage, and those of the traces that it had to write for it, prompts included."""
    lines = [line for line in read_metrics(run / RECORDS["metrics"]) if line["stage"] == stage]
    read = sum(line.get("distillation/teacher_tokens", 0.0) for line in lines)
    share = {"sft": 1.0, "kd": 0.5}.get(stage, 0.0)  # kd takes half of the traces in its 800 groups
    return read + share * sum(written)


if __name__ == "__main__":
    main()
