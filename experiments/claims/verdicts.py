"""From runs to verdicts: a mean over seeds with its interval for each statement; a table, figures, and what was read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

from claims import Claim, Statement
from matplotlib.figure import Figure
from measured import Runs

from rl_distill.evaluation.student_t import t_quantile
from rl_distill.markdown_table import markdown

Verdict = Literal["holds", "does not hold", "cannot be separated"]
Values = Mapping[str, Sequence[float]]  # by arm, one of each seed


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and half of its 95 % interval (Student's t)."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        return cls(fmean(values), t_quantile(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5)

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.half:.3f}"


def written(claims: Sequence[Claim], runs: Runs, folder: Path) -> str:
    """The table of all claims, which also lies in `claims.md`; `claims.json` has every number, its cost, its files."""
    rows, record = [], []
    for claim in claims:
        runs.forget()
        values = {name: [arm(runs, seed) for seed in runs.seeds] for name, arm in claim.arms.items()}
        verdict, differences = judged(claim.statements, values)
        said = "; ".join(f"{one.arm} - {one.than} {found}" for one, found in zip(claim.statements, differences, strict=True))
        rows.append((claim.text, verdict, said))
        sources = sorted(str(path.relative_to(folder)) for path in runs.read)
        told = {
            "claim": claim.name,
            "verdict": verdict,
            "seeds": runs.seeds,
            "arms": values,
            "costs": runs.costs(),
            "files": sources,
        }
        record.append(told)
        _figure(claim, values, verdict).savefig(folder / f"{claim.name}.png", dpi=110)
    table = markdown(("claim", "verdict", f"mean difference over {len(runs.seeds)} seeds, 95 % interval"), rows)
    (folder / "claims.md").write_text(table + "\n")
    (folder / "claims.json").write_text(json.dumps(record, indent=1) + "\n")
    return table


def judged(statements: Sequence[Statement], values: Values) -> tuple[Verdict, list[Estimate]]:
    """The verdict on all of them together, and the difference that each is about."""
    differences = [_difference(statement, values) for statement in statements]
    return _together([_verdict(one, found) for one, found in zip(statements, differences, strict=True)]), differences


def _difference(statement: Statement, values: Values) -> Estimate:
    """Paired by seed."""
    return Estimate.of([one - other for one, other in zip(values[statement.arm], values[statement.than], strict=True)])


def _verdict(statement: Statement, found: Estimate) -> Verdict:
    above = found.mean - found.half > statement.bound
    below = found.mean + found.half < statement.bound
    if above == below:
        return "cannot be separated"
    return "holds" if below == statement.below else "does not hold"


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    for decisive in ("does not hold", "cannot be separated"):
        if decisive in verdicts:
            return decisive
    return "holds"


def _figure(claim: Claim, values: Values, verdict: Verdict) -> Figure:
    figure = Figure(figsize=(1.6 + 1.3 * len(values), 3.6), layout="constrained")
    axes = figure.add_subplot()
    for place, seen in enumerate(values.values()):
        estimate = Estimate.of(seen)
        axes.plot([place] * len(seen), seen, "o", color="0.6", markersize=4, label="a seed" if place == 0 else None)
        axes.errorbar(place + 0.15, estimate.mean, yerr=estimate.half, fmt="s", color="C0", capsize=4)
    axes.set_xticks(range(len(values)), [name.replace(", ", ",\n") for name in values], fontsize=8)
    axes.set(ylabel=claim.measure, xlim=(-0.5, len(values) - 0.3))
    axes.set_title(f"{claim.text}:\n{verdict}", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    return figure
