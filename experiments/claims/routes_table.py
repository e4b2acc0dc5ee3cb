"""Accuracy of each route over several runs, against one of them, and what it cost: student tokens, FLOPs of student and teacher.

run: python experiments/claims/routes_table.py runs/claims/routes-0 runs/claims/routes-1 runs/claims/routes-2

The teacher is a program; its tokens are charged as those of a model of the student's size, --teacher-weights says of which else.
"""

import argparse
from pathlib import Path
from statistics import fmean

from verdicts import Estimate

from rl_distill.analysis.costs import Assumed, RunCosts, run_costs
from rl_distill.analysis.table import markdown

HEADER = (
    "route",
    "accuracy",
    "minus zero-RL",
    "sampled tokens",
    "trained tokens",
    "teacher tokens",
    "student FLOPs",
    "with teacher's",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs that differ in their seed, two to ten")
    parser.add_argument("--against", default="zero_rl", help="the route that the others are compared with")
    parser.add_argument("--teacher-weights", type=float, default=163_840, help="that each of the teacher's tokens passes")
    options = parser.parse_args()
    runs = [run_costs(run, Assumed(teacher_weights=options.teacher_weights)) for run in options.runs]
    print(markdown(HEADER, [_row(route.name, runs, options.against) for route in runs[0].routes]))


def _row(name: str, runs: list[RunCosts], against: str) -> tuple[str, ...]:
    accuracy = [_accuracy(run, name) for run in runs]
    differences = [one - _accuracy(run, against) for one, run in zip(accuracy, runs, strict=True)]
    costs = [next(route.cost for route in run.routes if route.name == name) for run in runs]
    found = Estimate.of(accuracy)
    return (
        name,
        f"{found.mean:.3f} ± {found.half:.3f}",
        "-" if name == against else str(Estimate.of(differences)),
        *(
            _mean([getattr(cost, amount) for cost in costs], ",.0f")
            for amount in ("sampled_tokens", "trained_tokens", "teacher_tokens")
        ),
        *(_mean([getattr(cost, amount) for cost in costs], ".3g") for amount in ("student_flops", "all_flops")),
    )


def _accuracy(run: RunCosts, name: str) -> float:
    route = next(route for route in run.routes if route.name == name)
    assert route.accuracy is not None, "the recipe has an evaluation"
    return route.accuracy


def _mean(amounts: list[float | None], form: str) -> str:
    known = [amount for amount in amounts if amount is not None]
    return format(fmean(known), form) if len(known) == len(amounts) else "unknown"


if __name__ == "__main__":
    main()
