"""Figures of one or two sets of responses: lengths by verdict, accuracy under a budget, token classes along a response."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rl_distill.errors import InputError

_COLORS = {"correct": "tab:green", "wrong": "tab:red"}
_LONGEST_NAME = 40
_BINS = 30


def plot_lengths(
    lengths: Sequence[tuple[str, Mapping[str, Sequence[int]]]],
    curves: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    unit: str,
    path: Path,
) -> None:
    """One PNG: for each set a histogram of lengths by verdict, then accuracy as a function of the budget, with intervals.

    Args:
        lengths: by set its name and the lengths of its correct and wrong responses.
        curves: by set its name and the points of `budget.budget_curve`.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(1, len(lengths) + 1, figsize=(4.6 * (len(lengths) + 1), 3.6), layout="constrained")
    for axis, (name, by_status) in zip(axes, lengths, strict=False):
        longest = max((max(some) for some in by_status.values() if some), default=1)
        edges = np.linspace(0, longest + 1, _BINS + 1)
        for status, some in by_status.items():
            axis.hist(some, bins=edges, alpha=0.55, color=_COLORS[status], label=f"{status} ({len(some)})")
        axis.set(title=_shown(name), xlabel=f"length, {unit}", ylabel="responses")
        axis.legend(fontsize=8)
    drawn = [(name, curve) for name, curve in curves if curve]
    for name, curve in drawn:
        at = [point["budget"] for point in curve]
        (line,) = axes[-1].plot(at, [point["accuracy"] for point in curve], marker=".", label=_shown(name))
        low, high = ([point[side] for point in curve] for side in ("low", "high"))
        axes[-1].fill_between(at, low, high, alpha=0.2, color=line.get_color())
    axes[-1].set(title="accuracy within a budget, 95 % interval", xlabel=f"budget, {unit}", ylim=(0, 1))
    axes[-1].grid(alpha=0.3)
    if drawn:
        axes[-1].set_xscale("log")
        axes[-1].legend(fontsize=8)
    _save(figure, path)


def plot_classes(reports: Sequence[tuple[str, Mapping[str, Any]]], unit: str, path: Path) -> None:
    """One PNG: for each class its occurrences per 1,000 tokens in each tenth of a response, one line a set.

    Args:
        reports: by set its name and its `class_rates.class_report`.
    """
    pyplot = _pyplot()
    labels = list(reports[0][1])
    figure, axes = pyplot.subplots(
        1, len(labels), figsize=(2.8 * len(labels), 2.8), layout="constrained", squeeze=False, sharex=True
    )
    for axis, label in zip(axes[0], labels, strict=True):
        for name, report in reports:
            values = [np.nan if value is None else value for value in report[label]["per_thousand_by_decile"]]
            axis.plot(range(1, len(values) + 1), values, marker=".", label=_shown(name))
        axis.set(title=label, xlabel="tenth of the response")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(f"per 1,000 {unit}")
    axes[0][0].legend(fontsize=7)
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> None:
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        problem = f"{str(path)!r} cannot be written ({error.strerror})"
        raise InputError("figure", problem, "choose a folder you may write to") from None
    finally:
        _pyplot().close(figure)


def _shown(name: str) -> str:
    """The end of a name, which tells paths apart. The legend would leave out a label that begins with "_", with a warning."""
    short = name if len(name) <= _LONGEST_NAME else f"\u2026{name[-_LONGEST_NAME:]}"
    return f" {short}" if short.startswith("_") else short
