"""Accuracy of each route over seeds, against zero-RL, and what it cost: tokens, and FLOPs of student and teacher.

The teacher of these routes is a program; its tokens are charged as those of a model of the student's size. A warm-up on probes is
charged the replies that it reads, not those drawn in vain.
"""

from typing import NamedTuple

from claims import rated
from measured import Runs
from verdicts import Estimate

from rl_distill.markdown_table import markdown

ONLINE, IMITATION = ("1e4", "3e4", "1e3"), ("3e4", "1e3", "3e3")


class Route(NamedTuple):
    """Stages that differ in their rates alone; the best on the validation half stands for them."""

    name: str
    stages: tuple[str, ...]


def _routes(suffix: str, *, redi: str, exgrpo: str) -> tuple[Route, ...]:
    return (
        Route("zero-RL", rated(f"zero_rl{suffix}", *ONLINE)),
        Route("SFT", rated(f"sft{suffix}", *IMITATION)),
        Route("REDI", rated(f"redi{redi}", *IMITATION)),
        Route("ExGRPO", rated(f"exgrpo{exgrpo}", "3e4", "1e3", "1e3_1e4")),
    )


COMPARED = (  # the first route is zero-RL
    ("Student knows every step (habits), equal student tokens", "routes", _routes("", redi="", exgrpo="")),
    ("The same, equal FLOPs", "routes", _routes("_flops", redi="_flops", exgrpo="")),
    ("Student lacks knowledge (rules), equal student tokens", "routes_rules", _routes("", redi="", exgrpo="")),
    ("The same, equal FLOPs", "routes_rules", _routes("_flops", redi="", exgrpo="_flops")),
)
AMOUNTS = {"sampled_tokens": ",", "trained_tokens": ",", "teacher_tokens": ",", "all_flops": ".3g"}
HEADER = ("route", "best stage", "accuracy", "minus zero-RL", "sampled", "trained", "teacher's tokens", "FLOPs with teacher's")


def routes_tables(runs: Runs) -> str:
    """A table for each world and each kind of equality."""
    return "\n\n".join(
        f"{title}:\n\n" + markdown(HEADER, [_row(runs, recipe, route, routes[0]) for route in routes])
        for title, recipe, routes in COMPARED
    )


def _row(runs: Runs, recipe: str, route: Route, against: Route) -> tuple[str, ...]:
    stage = runs.best(recipe, route.stages)
    accuracies, cost = _accuracies(runs, recipe, route), runs.cost(recipe, stage)
    differences = [one - other for one, other in zip(accuracies, _accuracies(runs, recipe, against), strict=True)]
    accuracy = Estimate.of(accuracies)
    return (
        route.name,
        stage,
        f"{accuracy.mean:.3f} ± {accuracy.half:.3f}",
        "-" if route is against else str(Estimate.of(differences)),
        *(format(cost[amount], form) for amount, form in AMOUNTS.items()),
    )


def _accuracies(runs: Runs, recipe: str, route: Route) -> list[float]:
    """On the test half, of each seed."""
    stage = runs.best(recipe, route.stages)
    return [runs.accuracy(recipe, stage, seed, "test") for seed in runs.seeds]
