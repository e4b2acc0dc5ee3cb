"""The table of routes, for a terminal and for a README."""

from collections.abc import Mapping, Sequence
from typing import Any

HEADER = ("route", "accuracy", "95 % interval", "generated tokens", "trained tokens", "seconds")


def route_rows(routes: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Text cells of `summary.json`'s routes, below `HEADER`."""
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


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table padded to read well in a terminal too; all columns but the first are right-aligned."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join((first, *others)) + " |"

    rule = "| " + " | ".join("-" * width if index == 0 else "-" * (width - 1) + ":" for index, width in enumerate(widths)) + " |"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])
