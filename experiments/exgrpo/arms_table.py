"""Direct accuracy of each arm of a recipe over several runs, and paired with one of its arms.

run: python experiments/exgrpo/arms_table.py runs/warm-up-rules-0 runs/warm-up-rules-1 runs/warm-up-rules-2
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev

from rl_distill.markdown_table import markdown

STUDENT_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # 97.5 % quantile, by number of runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs that differ in their seed, two to five")
    parser.add_argument("--against", default="traces", help="the arm that the others are compared with")
    options = parser.parse_args()
    if len(options.runs) not in STUDENT_T:
        parser.error(f"an interval over runs takes two to five of them, not {len(options.runs)}")
    routes = [_routes(run) for run in options.runs]
    header = ("arm", *(f"run {index}" for index in range(len(routes))), "mean", f"minus {options.against}", "tokens with loss")
    print(markdown(header, [_row(name, routes, options.against) for name in routes[0]]))
    print("\nOver problems, 95 % interval of run 0:")
    for name, route in routes[0].items():
        print(f"  {name:22} {route['accuracy']:.3f} ({route['low']:.3f} - {route['high']:.3f})")


def _row(name: str, routes: list[dict[str, dict[str, float]]], against: str) -> tuple[str, ...]:
    accuracies = [found[name]["accuracy"] for found in routes]
    differences = [found[name]["accuracy"] - found[against]["accuracy"] for found in routes]
    half = STUDENT_T[len(routes)] * stdev(differences) / len(routes) ** 0.5
    return (
        name,
        *(f"{accuracy:.3f}" for accuracy in accuracies),
        f"{fmean(accuracies):.3f}",
        "-" if name in ("base", against) else f"{fmean(differences):+.3f} ± {half:.3f}",
        f"{routes[0][name]['trained_tokens']:,}",
    )


def _routes(run: Path) -> dict[str, dict[str, float]]:
    return {route["name"]: route for route in json.loads((run / "summary.json").read_text())["routes"]}


if __name__ == "__main__":
    main()
