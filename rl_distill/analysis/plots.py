"""Figures of a run: how good each route is, and how its training went."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError


def plot_run(routes: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One PNG: accuracy of every route with its interval; reward over sampled tokens; log-probs of chosen and rejected attempts.

    Args:
        routes: of `summary.json`.
        metrics: the lines of `metrics.jsonl`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    stages = list(dict.fromkeys(line["stage"] for line in metrics))
    online = [stage for stage in stages if any(line["stage"] == stage and "reward/mean" in line for line in metrics)]
    paired = [stage for stage in stages if any(line["stage"] == stage and "logprob/rejected" in line for line in metrics)]
    panels = [panel for panel, wanted in ((_routes, True), (_rewards, online), (_logprobs, paired)) if wanted]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.6), layout="constrained", squeeze=False)
    for panel, axis in zip(panels, axes[0], strict=True):
        panel(axis, routes, [line for line in metrics if line["stage"] in {*online, *paired}])
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise InputError(
            "figure", f"{str(path)!r} cannot be written ({error.strerror})", "choose a folder you may write to"
        ) from None
    finally:
        pyplot.close(figure)


def _routes(axis: Any, routes: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]) -> None:
    colors = _colors(routes)
    measured = [route for route in routes if route["accuracy"] is not None]
    top = min(1.05, 1.2 * max([route["high"] for route in measured], default=1.0))
    for place, route in enumerate(measured):
        color, high = colors[route["name"]], route["high"]
        errors = [[route["accuracy"] - route["low"]], [high - route["accuracy"]]]
        axis.errorbar(place, route["accuracy"], yerr=errors, fmt="o", capsize=4, color=color)
        axis.annotate(
            f"{route['accuracy']:.2f}", (place, high), textcoords="offset points", xytext=(0, 4), ha="center", fontsize=8
        )
    axis.set_xticks(range(len(measured)), [route["name"] for route in measured], rotation=30, ha="right")
    axis.set(title="held-out accuracy, 95 % interval", ylim=(0, top), xlim=(-0.5, max(0.5, len(measured) - 0.5)))
    axis.grid(axis="y", alpha=0.3)


def _rewards(axis: Any, routes: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]) -> None:
    colors = _colors(routes)
    for stage in dict.fromkeys(line["stage"] for line in metrics if "reward/mean" in line):
        lines = [line for line in metrics if line["stage"] == stage and "reward/mean" in line]
        tokens, rewards = [line["run/generated_tokens"] for line in lines], [line["reward/mean"] for line in lines]
        axis.plot(tokens, rewards, label=stage, marker=".", color=colors[stage])
    axis.set(title="mean reward in training", xlabel="sampled tokens")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def _logprobs(axis: Any, routes: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]) -> None:
    colors = _colors(routes)
    for stage in dict.fromkeys(line["stage"] for line in metrics if "logprob/rejected" in line):
        lines = [line for line in metrics if line["stage"] == stage and "logprob/rejected" in line]
        for name, style in (("chosen", "-"), ("rejected", "--")):
            axis.plot([line[f"logprob/{name}"] for line in lines], style, color=colors[stage], label=f"{stage}, {name}")
    axis.set(title="mean log-prob per token, nats", xlabel="step")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def _colors(routes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """One color for each route, the same in every panel."""
    return {route["name"]: f"C{place % 10}" for place, route in enumerate(routes)}
