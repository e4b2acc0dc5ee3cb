"""Accuracy of each route over seeds, against zero-RL, and what it cost: tokens, and FLOPs of student and teacher.

run: python experiments/claims/routes_table.py runs/claims

`run.py` writes the same tables. The teacher of these routes is a program; its tokens are charged as those of a model of the
student's size, --teacher-weights says of which else. A warm-up on probes is charged the replies that it reads, not those drawn in
vain.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from verdicts import Estimate

from rl_distill.analysis.costs import Assumed, RunCosts, run_costs
from rl_distill.analysis.table import markdown

COMPARED = (  # the first is zero-RL
    ("Student knows every step (habits), equal student tokens", "routes", ("zero_rl", "sft", "redi", "exgrpo")),
    ("The same, equal FLOPs", "routes", ("zero_rl_flops", "sft_flops", "redi_flops", "exgrpo")),
    ("Student lacks knowledge (rules), equal student tokens", "routes_rules", ("zero_rl", "sft", "redi", "exgrpo")),
    ("The same, equal FLOPs", "routes_rules", ("zero_rl_flops", "sft_flops", "redi", "exgrpo_flops")),
)
STUDENT_WEIGHTS = 163_840
AMOUNTS = {
    "sampled_tokens": ",.0f",
    "trained_tokens": ",.0f",
    "teacher_tokens": ",.0f",
    "student_flops": ".3g",
    "all_flops": ".3g",
}
HEADER = ("route", "accuracy", "minus zero-RL", "sampled", "trained", "teacher's tokens", "student's FLOPs", "with teacher's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder that run.py made")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="two to ten")
    parser.add_argument("--teacher-weights", type=float, default=STUDENT_WEIGHTS, help="that each of the teacher's tokens passes")
    options = parser.parse_args()
    print(routes_tables(options.runs, options.seeds, options.teacher_weights))


def routes_tables(folder: Path, seeds: Sequence[int], teacher_weights: float = STUDENT_WEIGHTS) -> str:
    """A table for each world and each kind of equality."""
    assumed = Assumed(teacher_weights=teacher_weights)
    recipes = dict.fromkeys(recipe for _, recipe, _ in COMPARED)
    costs = {recipe: [run_costs(folder / f"{recipe}-{seed}", assumed) for seed in seeds] for recipe in recipes}
    tables = [
        f"{title}:\n\n" + markdown(HEADER, [_row(name, costs[recipe], routes[0]) for name in routes])
        for title, recipe, routes in COMPARED
    ]
    return "\n\n".join(tables)


def _row(name: str, runs: Sequence[RunCosts], against: str) -> tuple[str, ...]:
    routes = [{route.name: route for route in run.routes} for run in runs]
    differences = [_accuracy(each[name].accuracy) - _accuracy(each[against].accuracy) for each in routes]
    accuracy = Estimate.of([_accuracy(each[name].accuracy) for each in routes])
    return (
        name,
        f"{accuracy.mean:.3f} ± {accuracy.half:.3f}",
        "-" if name == against else str(Estimate.of(differences)),
        *(_mean([getattr(each[name].cost, amount) for each in routes], form) for amount, form in AMOUNTS.items()),
    )


def _accuracy(found: float | None) -> float:
    assert found is not None, "the recipe has an evaluation"
    return found


def _mean(amounts: Sequence[float | None], form: str) -> str:
    known = [amount for amount in amounts if amount is not None]
    return format(fmean(known), form) if len(known) == len(amounts) else "unknown"


if __name__ == "__main__":
    main()
