"""The results table of a sweep: Markdown, CSV, LaTeX, and plain data."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from rl_distill.evaluation.over_seeds import MeanOverSeeds
from rl_distill.markdown_table import markdown
from rl_distill.sweeps.cell_costs import COSTS, amount_text
from rl_distill.sweeps.results import Row

SCHEMA = "rl_distill.sweep/1"
COLUMNS = (
    *("cell", "seeds", "stopped", "accuracy", "95 % interval", "difference", "its 95 % interval", "p value", "p (Holm)"),
    *("alarms", "teacher tokens", "sampled tokens", "trained tokens", "student FLOPs", "device seconds", "remarks"),
)
NUMBERS = ("accuracy", "low", "high", "difference", "difference_low", "difference_high", "p", "p_holm")
CSV_HEADER = ("cell", "planned_seeds", "seeds", "stopped_seeds", *NUMBERS, "alarms", *COSTS, "remarks")
REMARKS_WIDTH = "6cm"
_LATEX = {"\\": r"\textbackslash{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}", "^": r"\^{}"}
_LATEX |= {sign: f"${sign}$" for sign in "<>|"}


def as_markdown(rows: Sequence[Row], baseline: str | None, *, seeds: int) -> str:
    """With what its columns mean below it."""
    notes = ["Accuracy: mean over seeds, its interval Student's t. Costs: means over seeds, of the way from base to the outcome."]
    notes.append("Seeds: those that are done, of those planned. Stopped: ended by an alarm, and in no mean.")
    if baseline is not None:
        notes.append(f"Difference: to {baseline}, paired by seed; p of the paired t test, corrected for all rows after Holm.")
    if seeds == 1:
        notes.append("One seed: no interval and no test. `rl-distill compare A B` compares two of the runs problem by problem.")
    return "\n".join([markdown(COLUMNS, [table_cells(row) for row in rows]), "", *notes])


def table_cells(row: Row) -> tuple[str, ...]:
    """As text, below `COLUMNS`."""
    accuracy, difference = row.accuracy, row.difference
    return (
        row.variant,
        f"{len(row.seeds)} of {row.planned_seeds}",
        f"{len(row.stopped)}",
        f"{accuracy.mean:.3f}" if accuracy else "-",
        _interval(accuracy, ""),
        f"{difference.mean:+.3f}" if difference else "-",
        _interval(difference, "+"),
        _p(difference.p_value if difference else None),
        _p(row.corrected),
        _alarms(row) or "-",
        *(amount_text(name, row.costs[name]) for name in COSTS),
        "; ".join(row.remarks) or "-",
    )


def as_csv(rows: Sequence[Row]) -> str:
    """Numbers in full; what is not known is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for row in rows:
        data = row_data(row)
        seeds = [row.planned_seeds, len(row.seeds), len(row.stopped)]
        costs = [row.costs[name] for name in COSTS]
        writer.writerow([row.variant, *seeds, *(data[name] for name in NUMBERS), _alarms(row), *costs, "; ".join(row.remarks)])
    return out.getvalue()


def as_latex(rows: Sequence[Row], baseline: str | None) -> str:
    """A tabular without packages: seeds done of those planned, accuracy and difference with half of their intervals."""
    remarks = any(row.remarks for row in rows)
    header = ["cell", "seeds", "stopped", "accuracy", *(["difference", "$p$ (Holm)"] if baseline is not None else [])]
    columns = f"l{'r' * (len(header) - 1)}" + (f"p{{{REMARKS_WIDTH}}}" if remarks else "")
    header += ["remarks"] if remarks else []
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", " & ".join(header) + r" \\", r"\hline"]
    for row in rows:
        cells = [_escaped(row.variant), f"{len(row.seeds)}/{row.planned_seeds}", str(len(row.stopped)), _half(row.accuracy, "")]
        if baseline is not None:
            cells += [_half(row.difference, "+"), _p(row.corrected).replace("<", "$<$")]
        cells += [_escaped("; ".join(row.remarks))] if remarks else []
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def row_data(row: Row) -> dict[str, Any]:
    """As `sweep.json` has it; null is not known."""
    return {
        "variant": row.variant,
        "planned_seeds": row.planned_seeds,
        "seeds": list(row.seeds),
        "stopped_seeds": list(row.stopped),
        "accuracy": row.accuracy.mean if row.accuracy else None,
        **_bounds(row.accuracy, ""),
        "difference": row.difference.mean if row.difference else None,
        **_bounds(row.difference, "difference_"),
        "p": row.difference.p_value if row.difference else None,
        "p_holm": row.corrected,
        "alarms": dict(row.alarms),
        "costs": dict(row.costs),
        "spent_without_result": None if row.spent is None else dict(row.spent),
        "remarks": list(row.remarks),
    }


def _bounds(found: MeanOverSeeds | None, prefix: str) -> dict[str, float | None]:
    interval = found.interval if found else None
    return {f"{prefix}low": interval.low if interval else None, f"{prefix}high": interval.high if interval else None}


def _interval(found: MeanOverSeeds | None, sign: str) -> str:
    return f"{found.interval.low:{sign}.3f} - {found.interval.high:{sign}.3f}" if found and found.interval else "-"


def _half(found: MeanOverSeeds | None, sign: str) -> str:
    if found is None:
        return "--"
    half = rf" \pm {found.interval.high - found.mean:.3f}" if found.interval else ""
    return f"${found.mean:{sign}.3f}{half}$"


def _p(value: float | None) -> str:
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _alarms(row: Row) -> str:
    return ", ".join(f"{alarm} in {count}" for alarm, count in row.alarms.items())


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
