"""The figure of a comparison of gradients: cosines, shares, and the credit of every token of one problem."""

from pathlib import Path
from typing import Any

from rl_distill.analysis.gradient_comparison import GradientComparison

COLORS = {"imitated": "tab:green", "avoided": "tab:red", "correct": "tab:green", "wrong": "tab:red", "teacher": "tab:purple"}
DIVISIONS = ("credit", "verdict", "origin")
MAX_TOKENS = 60  # of the strip: further ones are not legible


def plot_gradients(found: GradientComparison, path: Path) -> None:
    """One PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = shown_attempts(found)
    height = max(4.0, 0.34 * len(found.algorithms) + 1.6)
    figure = pyplot.figure(figsize=(14, height + (0.26 * len(found.algorithms) + 1.1) * len(shown)), layout="constrained")
    heights = [height, *([0.26 * len(found.algorithms) + 1.1] * len(shown))]
    grid = figure.add_gridspec(1 + len(shown), 2, height_ratios=heights)
    _cosines(figure.add_subplot(grid[0, 0]), found)
    _shares(figure.add_subplot(grid[0, 1]), found)
    for row, place in enumerate(shown, start=1):
        _strip(figure.add_subplot(grid[row, :]), found, place)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def shown_attempts(found: GradientComparison) -> list[tuple[int, int]]:
    """A right and a wrong attempt at the problem that most algorithms learn from, those that most of them credit."""
    takers = {
        (number, place): sum((number, place) in one.credits for one in found.algorithms.values())
        for number, group in enumerate(found.groups)
        for place in range(len(group.trajectories))
    }
    by_problem = {number: sum(count for place, count in takers.items() if place[0] == number) for number, _ in takers}
    best = max(by_problem, key=lambda number: by_problem[number])
    shown = []
    for status in ("correct", "wrong"):
        places = [(best, place) for place, attempt in enumerate(found.groups[best].trajectories) if attempt.status == status]
        shown += sorted(places, key=lambda place: -takers[place])[:1]
    return shown or [max(takers, key=lambda place: takers[place])]


def _cosines(axis: Any, found: GradientComparison) -> None:
    names = list(found.algorithms)
    values = [[found.cosines[row, column] for column in names] for row in names]
    axis.imshow([[0.0 if value is None else value for value in row] for row in values], cmap="RdBu_r", vmin=-1, vmax=1)
    for place, row in enumerate(values):
        for column, value in enumerate(row):
            text = "-" if value is None else f"{value:.2f}"
            strong = value is not None and abs(value) > 0.6
            axis.text(column, place, text, ha="center", va="center", fontsize=7, color="white" if strong else "black")
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set(title="cosine of the gradients (-: no gradient)")


def _shares(axis: Any, found: GradientComparison) -> None:
    """Three thin bars for each algorithm: by credit, by verdict, by origin."""
    drawn: set[str] = set()
    for place, one in enumerate(found.algorithms.values()):
        for offset, division in zip((-0.27, 0.0, 0.27), DIVISIONS, strict=True):
            left, right = 0.0, 0.0
            for part in one.parts:
                if part.division != division or not part.share:
                    continue
                start = right if part.share > 0 else left
                label = None if part.name in drawn else part.name
                drawn.add(part.name)
                color = COLORS.get(part.name, "tab:grey")
                hatch = {"verdict": "//", "origin": ".."}.get(division)
                axis.barh(place + offset, part.share, 0.24, left=start, color=color, hatch=hatch, label=label, edgecolor="white")
                right, left = (right + part.share, left) if part.share > 0 else (right, left + part.share)
    axis.set_yticks(range(len(found.algorithms)), [f"{one.name}  |g| {one.norm:.2g}" for one in found.algorithms.values()])
    axis.tick_params(axis="y", labelsize=8)
    axis.invert_yaxis()
    axis.set(title="share of the gradient by credit, verdict and origin", xlabel="projection on the whole")
    axis.axvline(0, color="black", linewidth=0.6)
    if drawn:
        axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _strip(axis: Any, found: GradientComparison, place: tuple[int, int]) -> None:
    """A row for each algorithm that took the attempt, each scaled by its own largest credit in it."""
    rows = {name: one.credits[place] for name, one in found.algorithms.items() if any(one.credits.get(place, ()))}
    texts = list(found.texts[place])[-MAX_TOKENS:]
    group = found.groups[place[0]]
    attempt = group.trajectories[place[1]]
    title = f"credit of each token, {attempt.status or 'unverified'} attempt by the {attempt.origin} at {group.problem.id}"
    axis.set_title(f"{title} (green: more likely, red: less; scaled row by row)", fontsize=9)
    scaled = [[value / max(map(abs, row)) for value in row][-MAX_TOKENS:] for row in rows.values()]
    if scaled:
        axis.imshow(scaled, cmap="RdYlGn", vmin=-1, vmax=1, aspect="auto")
    axis.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axis.set_xticks(range(len(texts)), [text.replace("$", r"\$") for text in texts], rotation=60, fontsize=7)
