"""How often a problem is solved after each context, and how much of that a dialogue's own replies explain.

run: python experiments/exgrpo/contexts.py runs/exgrpo-contexts

Answers count by problem: its share of correct ones in a context, over all runs, and the mean over problems with its 95 % interval
by bootstrap. Visits of one problem are one cluster, however many runs made them.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import fmean

from rl_distill.markdown_table import markdown
from rl_distill.records import group_from_dict

Shares = dict[str, float]  # of a problem: the share of correct answers by context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs that recorded dialogues")
    parser.add_argument("--stage", default="contexts")
    options = parser.parse_args()
    problems = _problems(options.runs, options.stage)
    contexts = sorted({context for shares in problems for context in shares})
    rows = [(context, *_estimate([shares[context] for shares in problems])) for context in contexts]
    print(markdown(("context", "correct", "95 % interval"), rows), end="\n\n")
    differences = [
        (f"{context} - {other}", *_estimate([shares[context] - shares[other] for shares in problems]))
        for place, context in enumerate(contexts)
        for other in contexts[place + 1 :]
    ]
    print(markdown(("difference", "mean", "95 % interval"), differences))
    print(f"\n{len(problems)} problems of {len(options.runs)} runs")


def _problems(runs: Sequence[Path], stage: str) -> list[Shares]:
    """Of each problem."""
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for text in (run / "trajectories" / "rollouts.jsonl").open(encoding="utf-8"):
            line = json.loads(text)
            if line["stage"] != stage:
                continue
            group = group_from_dict(line)
            for one in group.trajectories:
                if one.origin == "policy" and one.status in ("correct", "wrong"):
                    found[group.problem.id][one.context].append(one.status == "correct")
    return [{context: fmean(right) for context, right in contexts.items()} for contexts in found.values()]


def _estimate(values: Sequence[float]) -> tuple[str, str]:
    """Mean and percentile bootstrap over problems."""
    draw = Random(0)
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(2000))
    return f"{fmean(values):.3f}", f"{means[50]:.3f} to {means[1949]:.3f}"


if __name__ == "__main__":
    main()
