"""Draws docs/dataflow.svg, the picture of what flows through a run: python scripts/docs/dataflow.py"""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

OUT = Path(__file__).resolve().parents[2] / "docs" / "dataflow.svg"
RECORD, ACTION = "#dfe7fd", "#fde9cf"
INK = "#1b2330"
# name: (column, row, color, second line)
BOXES = {
    "Teacher data": (0, 2, RECORD, "recorded attempts"),
    "Problem": (0, 1, RECORD, "prompt, gold answer"),
    "Engine.generate": (1, 1, ACTION, "samples attempts"),
    "Trajectory": (2, 1, RECORD, "tokens, log-probs"),
    "Reward": (3, 1, ACTION, "verdict and number"),
    "Group": (4, 1, RECORD, "kept in the ledger"),
    "Algorithm.samples": (4, 0, ACTION, "who, with what credit"),
    "Batch, Totals": (3, 0, RECORD, "samples as tensors"),
    "Algorithm.loss": (2, 0, ACTION, "sums over totals"),
    "Learner.step": (1, 0, ACTION, "gradient, AdamW"),
}
ARROWS = [
    ("Problem", "Engine.generate"),
    ("Engine.generate", "Trajectory"),
    ("Trajectory", "Reward"),
    ("Reward", "Group"),
    ("Group", "Algorithm.samples"),
    ("Algorithm.samples", "Batch, Totals"),
    ("Batch, Totals", "Algorithm.loss"),
    ("Algorithm.loss", "Learner.step"),
    ("Learner.step", "Engine.generate"),
]
WIDTH, HEIGHT, STEP_X, STEP_Y = 1.62, 0.62, 2.1, 1.15


def main() -> None:
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rl_distill", "font.family": "sans-serif"})
    figure = Figure(figsize=(11, 3.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-1.0, 4 * STEP_X + 1.0)
    axes.set_ylim(-0.5, 2 * STEP_Y + 0.5)
    axes.axis("off")
    for name, (column, row, color, about) in BOXES.items():
        _box(axes, column * STEP_X, row * STEP_Y, name, about, color)
    for start, end in ARROWS:
        _arrow(axes, start, end)
    _offline(axes)
    axes.text(STEP_X + 0.1, STEP_Y / 2, "publish: new weights, with digests", fontsize=9, color=INK, va="center")
    axes.text(0, 0.1, "blue: records", fontsize=9, color=INK, va="center", ha="center")
    axes.text(0, -0.14, "orange: what acts on them", fontsize=9, color=INK, va="center", ha="center")
    figure.savefig(OUT, metadata={"Date": None, "Creator": None})


def _box(axes: Axes, x: float, y: float, name: str, about: str, color: str) -> None:
    corner = (x - WIDTH / 2, y - HEIGHT / 2)
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", fc=color, ec=INK, lw=1))
    axes.text(x, y + 0.1, name, ha="center", va="center", fontsize=11, color=INK, weight="bold")
    axes.text(x, y - 0.14, about, ha="center", va="center", fontsize=9, color=INK)


def _arrow(axes: Axes, start: str, end: str) -> None:
    """From the side of a box that faces the other one."""
    (x0, y0, *_), (x1, y1, *_) = BOXES[start], BOXES[end]
    across = (x1 > x0) - (x1 < x0)
    up = (y1 > y0) - (y1 < y0)
    tail = (x0 * STEP_X + across * WIDTH / 2, y0 * STEP_Y + up * HEIGHT / 2)
    head = (x1 * STEP_X - across * WIDTH / 2, y1 * STEP_Y - up * HEIGHT / 2)
    axes.annotate("", xy=head, xytext=tail, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.4, "shrinkA": 0, "shrinkB": 0})


def _offline(axes: Axes) -> None:
    """What a teacher wrote is a group as it stands: nothing is sampled."""
    y, x = 2 * STEP_Y, 4 * STEP_X
    axes.plot([WIDTH / 2, x, x], [y, y, y], color=INK, lw=1.4)
    style = {"arrowstyle": "-|>", "color": INK, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=(x, STEP_Y + HEIGHT / 2), xytext=(x, y), arrowprops=style)
    axes.text(2 * STEP_X, y + 0.12, "offline: a row of a data set is a group", fontsize=9, color=INK, ha="center", va="center")


if __name__ == "__main__":
    main()
