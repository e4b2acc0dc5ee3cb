"""The folder of a cost report: costs.md, costs.json, pareto.png."""

import json
from collections.abc import Sequence
from pathlib import Path

from rl_distill.analysis.cost_amounts import RunCosts
from rl_distill.analysis.cost_table import as_data, cost_lines
from rl_distill.analysis.pareto import check_comparable
from rl_distill.analysis.pareto_figure import plot_pareto
from rl_distill.errors import InputError


def write_costs(runs: Sequence[RunCosts], folder: Path) -> list[str]:
    """Write the report; returns the lines that a person reads.

    Raises:
        InputError: the folder cannot be written, or the runs were measured on different problems.
    """
    check_comparable(runs)
    lines = list(cost_lines(runs))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure = _figure(runs, folder / "pareto.png")
        (folder / "costs.md").write_text("\n".join([*lines, *figure]) + "\n", encoding="utf-8")
        (folder / "costs.json").write_text(json.dumps(as_data(runs), indent=1) + "\n", encoding="utf-8")
        return [*lines, f"written to {folder}", *figure]
    except OSError as error:
        problem = f"{str(folder)!r} cannot be written ({error.strerror})"
        raise InputError("--output", problem, "name a folder that you may write to") from None


def _figure(runs: Sequence[RunCosts], path: Path) -> list[str]:
    path.unlink(missing_ok=True)  # of an earlier report
    if not any(route.accuracy is not None for run in runs for route in run.routes):
        return ["no figure: nothing was evaluated, so there is no accuracy to set against the costs"]
    left_out = plot_pareto(runs, path)
    if not path.exists():
        return ["no figure: it needs two measured students beside base whose costs are known"]
    return [f"figure: {path}", *left_out]
