"""What a finished run leaves for people: its table, its curves, a page of its dialogues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl_distill.analysis.dialogue_page import write_dialogue_page
from rl_distill.analysis.dialogue_record import has_dialogues
from rl_distill.analysis.plots import plot_run
from rl_distill.markdown_table import markdown
from rl_distill.tracking import read_metrics

ROUTE_HEADER = ("route", "accuracy", "95 % interval", "generated tokens", "trained tokens", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPages:
    """The table as text, and files in the run folder; `dialogues` is None where none were recorded."""

    table: str
    table_file: Path
    curves: Path
    dialogues: Path | None


def write_run_pages(folder: Path, summary: Mapping[str, Any]) -> RunPages:
    """
    Args:
        folder: of the run.
        summary: what `train` returned.
    """
    table = markdown(ROUTE_HEADER, route_rows(summary["routes"]))
    table_file, curves = folder / "table.md", folder / "curves.png"
    table_file.write_text(table + "\n")
    plot_run(summary["routes"], read_metrics(folder / "metrics.jsonl"), curves)
    page = write_dialogue_page(folder) if has_dialogues(folder) else None
    return RunPages(table=table, table_file=table_file, curves=curves, dialogues=page)


def route_rows(routes: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Text cells of `summary.json`'s routes, below `ROUTE_HEADER`."""
    return [
        (
            route["name"],
            "-" if route["accuracy"] is None else f"{route['accuracy']:.3f}",
            "-" if route["accuracy"] is None else f"{route['low']:.3f} - {route['high']:.3f}",
            f"{route['generated_tokens']:,}",
            f"{route['trained_tokens']:,}",
            f"{route['seconds']:.1f}",
        )
        for route in routes
    ]
