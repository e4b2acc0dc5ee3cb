"""The arms of a grid on a tenth, a quarter, half and all of its problems, and the curve: what is a problem worth to each?

run: python experiments/exgrpo/data_efficiency.py experiments/exgrpo/grid_rules.yaml --seeds 0 1 2

Sampled and imitated tokens stay what they are with all problems, so that only the number of different problems changes; a smaller
set is the head of the larger. Runs that are finished are not run again.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure

from rl_distill import train
from rl_distill.config import parse, read_yaml
from rl_distill.markdown_table import markdown
from rl_distill.recipe import Recipe

PERCENTS = (10, 25, 50, 100)
ARMS = ("sft_grpo", "inversion_single", "inversion_none", "inversion_gate", "inversion_paired")
STAGES = ("sft", "warm_inversion", *ARMS)
STUDENT_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # 97.5 % quantile, by number of seeds

Cells = dict[tuple[str, int], list[float]]  # accuracies over seeds, by stage and percent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="grid_rules.yaml or grid_habits.yaml")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="two to five")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the run folders are made")
    options = parser.parse_args()
    cells: Cells = {(stage, percent): [] for stage in STAGES for percent in PERCENTS}
    for seed in options.seeds:
        for percent in PERCENTS:
            recipe = _recipe(options.recipe, percent, seed, options.runs)
            for stage, accuracy in _accuracies(recipe).items():
                if stage in STAGES:
                    cells[stage, percent].append(accuracy)
    print(_table(cells, len(options.seeds)))
    figure = options.runs / f"{options.recipe.stem}-data.png"
    _figure(cells).savefig(figure, dpi=120)
    print(f"\n{figure}")


def _recipe(path: Path, percent: int, seed: int, runs: Path) -> Recipe:
    """The grid's arms on `percent` of the problems that its stages read."""
    tree = read_yaml(path, [f"seed={seed}", f"run_dir={runs / f'{path.stem}-{percent}-{seed}'}", "tracking.console=quiet"])
    tree["stages"] = [_reduced(stage, percent) for stage in tree["stages"] if stage["name"] in STAGES]
    return parse(Recipe, tree)


def _reduced(tree: Any, percent: int) -> Any:
    if isinstance(tree, dict):
        return {
            key: round(value * percent / 100) if key == "num_problems" else _reduced(value, percent)
            for key, value in tree.items()
        }
    return [_reduced(value, percent) for value in tree] if isinstance(tree, list) else tree


def _accuracies(recipe: Recipe) -> dict[str, float]:
    summary = Path(recipe.run_dir or "") / "summary.json"
    found: dict[str, Any] = json.loads(summary.read_text()) if summary.exists() else train(recipe)
    return {route["name"]: route["accuracy"] for route in found["routes"]}


def _half(accuracies: Sequence[float]) -> float:
    return STUDENT_T[len(accuracies)] * stdev(accuracies) / len(accuracies) ** 0.5


def _table(cells: Cells, num_seeds: int) -> str:
    header = (f"arm, mean of {num_seeds} seeds", *(f"{percent} %" for percent in PERCENTS))
    rows = [
        (stage, *(f"{fmean(found):.3f} ± {_half(found):.3f}" for found in (cells[stage, percent] for percent in PERCENTS)))
        for stage in STAGES
    ]
    return markdown(header, rows)


def _figure(cells: Cells) -> Figure:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for arm in ARMS:
        axes.errorbar(
            PERCENTS,
            [fmean(cells[arm, percent]) for percent in PERCENTS],
            yerr=[_half(cells[arm, percent]) for percent in PERCENTS],
            label=arm,
            marker="o",
            capsize=3,
        )
    axes.set(xscale="log", xlabel="share of the problems (%)", ylabel="accuracy on the problem alone", ylim=(0, None))
    axes.set_xticks(PERCENTS, [str(percent) for percent in PERCENTS])
    axes.minorticks_off()
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
