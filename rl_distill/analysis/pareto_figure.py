"""The figure of `pareto`: a panel for each cost, one color and mark for a route in all of them, names below."""

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from rl_distill.analysis.cost_amounts import RunCosts
from rl_distill.analysis.pareto import Point, bases, by_base, drawn_axes, fronts, known, points

WIDE = 100.0  # times the smallest amount: beyond it an axis is logarithmic
MOST_TICKS = 6
MARKERS = "osD^v"  # each with ten colors
APART = 7.0  # typographic points between marks that cost the same
NAMED = 4  # at most, above a panel
_PANEL, _WIDTH = (4.8, 3.7), 4.0  # inches; of a panel, and of what is drawn in it
_LINEAR = 0.6  # powers of ten that 0 is away from the first one


def plot_pareto(runs: Sequence[RunCosts], path: Path) -> list[str]:
    """One PNG; returns lines on what is not in it. None is written where no axis has two routes whose amount is known.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn, left_out = drawn_axes(runs)
    if drawn:
        columns = min(3, len(drawn))
        rows = -(-len(drawn) // columns)
        size = (_PANEL[0] * columns, _PANEL[1] * rows + 0.4)
        figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
        labels = [point.label for point in points(runs, drawn[0])]
        styles = {label: {"color": f"C{i % 10}", "marker": MARKERS[i // 10 % len(MARKERS)]} for i, label in enumerate(labels)}
        for axis in axes.flat[len(drawn) :]:
            axis.axis("off")
        for axis, title in zip(axes.flat, drawn, strict=False):
            _panel(axis, title, points(runs, title), bases(runs), fronts(runs, title), styles)
        _legend(figure, bases(runs), [_names(some) for some in by_base(runs)], styles)
        figure.savefig(path, dpi=110)
        pyplot.close(figure)
    return [
        *_unknown(runs, drawn),
        *([f"not in it, for too few routes have it known: {', '.join(left_out)}"] if left_out else []),
    ]


def _unknown(runs: Sequence[RunCosts], drawn: Sequence[str]) -> list[str]:
    """A line for each panel that lacks routes."""
    missing = {title: [point.label for point in points(runs, title) if point.amount is None] for title in drawn}
    return [f"left out of {title}, for theirs is unknown: {'; '.join(labels)}" for title, labels in missing.items() if labels]


def _names(runs: Sequence[RunCosts]) -> str:
    """Of those that begin at one base student, for the legend."""
    names = list(dict.fromkeys(run.name for run in runs))
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _panel(
    axis: Any,
    title: str,
    found: Sequence[Point],
    start: Sequence[Point],
    lines: Sequence[Sequence[Point]],
    styles: dict[str, Any],
) -> None:
    from matplotlib.transforms import ScaledTranslation

    drawn, best = known(found), [point for line in lines for point in line]
    _scale(axis, [_amount(point) for point in drawn])
    for point in start:
        axis.axhline(point.accuracy, color="grey", linestyle=":", linewidth=1.2)
        axis.axhspan(point.low, point.high, color="grey", alpha=0.1, linewidth=0)
    for point, shift in zip(drawn, _shifts(axis, drawn), strict=True):
        axis.errorbar(
            point.amount,
            point.accuracy,
            yerr=[[point.accuracy - point.low], [point.high - point.accuracy]],
            linestyle="none",
            capsize=3,
            elinewidth=1,
            markersize=9 if point in best else 5,
            markeredgecolor="black" if point in best else "none",
            transform=axis.transData + ScaledTranslation(shift / 72, 0, axis.figure.dpi_scale_trans),
            **styles[point.label],
        )
    left, right = axis.get_xlim()
    for place, line in enumerate(lines):
        corners = [(max(left, _amount(point)), point.accuracy) for point in line]
        if corners:
            at, heights = zip(*corners, (right, line[-1].accuracy), strict=True)
            axis.step(at, heights, where="post", linewidth=1, zorder=0, **_look(place))
    bottom, top = min(point.low for point in [*start, *drawn]), max(point.high for point in [*start, *drawn])
    room = 0.06 * (top - bottom)
    axis.set(xlim=(left, right), ylim=(bottom - room, top + room), xlabel=title, ylabel="held-out accuracy, 95 % interval")
    axis.grid(alpha=0.3)
    if missing := [point.label for point in found if point.amount is None]:
        named = "; ".join(missing[:NAMED]) + (f"; {len(missing) - NAMED} more" if len(missing) > NAMED else "")
        axis.set_title(fill(f"unknown, left out: {named}", 60), fontsize=8)


def _scale(axis: Any, amounts: Sequence[float]) -> None:
    """Limits with room for marks, ticks at 0 and at powers of ten where the axis is logarithmic."""
    from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

    spent = [amount for amount in amounts if amount > 0]
    low, high, num_free = min(spent), max(spent), len(amounts) - len(spent)
    room = (APART * max(num_free - 1, 0) / 2 + 8) / (72 * _WIDTH)  # left of 0, as a share of the axis
    room /= 1 - room
    if high > WIDE * low:
        least, most = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = -(-(most - least) // (MOST_TICKS - 1))
        ticks = [10.0**power for power in range(least, most + 1, every)]
        if num_free:
            axis.set_xscale("symlog", linthresh=ticks[0], linscale=_LINEAR)
            axis.set_xlim(-room * (most - least + _LINEAR) / _LINEAR * ticks[0], 1.6 * high)
            axis.set_xticks([0.0, *ticks])
        else:
            axis.set_xscale("log")
            axis.set_xlim(0.7 * low, 1.6 * high)
            axis.set_xticks([tick for tick in ticks if tick >= 0.7 * low])
        axis.set_xlim(right=1.6 * high)  # ticks beyond it have moved it
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.set_xlim(-room * 1.1 * high, 1.1 * high)
        axis.xaxis.set_major_locator(MaxNLocator(MOST_TICKS))
    axis.xaxis.set_major_formatter(EngFormatter())


def _shifts(axis: Any, drawn: Sequence[Point]) -> list[float]:
    """In typographic points, of marks in order of cost: those of like cost stand side by side, so that one can see them all."""
    places = [axis.transData.transform((_amount(point), 0.0))[0] * 72 / axis.figure.dpi for point in drawn]
    rows: list[list[float]] = []
    for place in places:
        if rows and place - rows[-1][-1] < APART:
            rows[-1].append(place)
        else:
            rows.append([place])
    return [APART * (number - (len(row) - 1) / 2) for row in rows for number in range(len(row))]


def _amount(point: Point) -> float:
    assert point.amount is not None, "drawn where it is known"
    return point.amount


def _look(place: int) -> dict[str, Any]:
    """Of the front of a base student: black where there is one."""
    return {"color": ("black", "firebrick", "steelblue", "darkgreen")[place % 4], "linestyle": ("--", "-.", ":")[place // 4 % 3]}


def _legend(figure: Any, start: Sequence[Point], by_base: Sequence[str], styles: dict[str, Any]) -> None:
    """
    Args:
        by_base: names of the runs that begin at each base student, each of which has a front of its own.
    """
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], linestyle="none", label=label, **style) for label, style in styles.items()]
    if start:
        marks.append(Line2D([], [], color="grey", linestyle=":", label="base, at which each route begins"))
    for place, names in enumerate(by_base):
        whose = f", from the base of {names}" if len(by_base) > 1 else ""
        marks.append(Line2D([], [], label=f"nobody is better for as little{whose}", **_look(place)))
    longest = max(len(str(mark.get_label())) for mark in marks)
    columns = max(1, min(len(marks), int(figure.get_figwidth() * 11 / (longest + 6))))
    title = "marks that cost about the same stand side by side"
    figure.legend(handles=marks, loc="outside lower center", ncols=columns, fontsize=8, title=title, title_fontsize=8)
