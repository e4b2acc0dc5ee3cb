"""Behaviors as Markdown: what keywords hint at, and what a judge found."""

from collections.abc import Iterator, Mapping
from typing import Any

from rl_distill.analysis.rates import shown
from rl_distill.markdown_table import markdown


def keyword_lines(report: Mapping[str, Any]) -> Iterator[str]:
    found, unit = report["behavior_keywords"], report["length_unit"]
    yield "## Behaviors by keyword\n\nHints, not findings: a keyword may stand for something else, and a behavior without one."
    yield f"Rubric: version {found['version']}, sha256 {found['sha256'][:16]}.\n"
    for name, one in found["sets"].items():
        rows = [
            (
                behavior,
                f"{row['all']['count']:,}",
                shown(row["all"]["per_thousand"]["whole"]),
                shown(row["all"]["share_of_responses"]),
            )
            for behavior, row in one.items()
        ]
        yield f"{name}\n\n{markdown(('behavior', 'keywords', f'per 1,000 {unit}', 'share of responses'), rows)}\n"


def judge_lines(report: Mapping[str, Any]) -> Iterator[str]:
    found, unit = report["behaviors"], report["length_unit"]
    yield f"## Behaviors by judge\n\nJudge: {found['judge']}, two passes; rubric sha256 {found['sha256'][:16]}.\n"
    header = ("behavior", "count", "per response", f"per 1,000 {unit}", "per solved response", "kappa", "agreement")
    for name, one in found["sets"].items():
        rows = [
            (
                behavior,
                f"{row['count']:g}",
                *(shown(row[key]) for key in ("per_response", "per_thousand", "per_solved_response")),
                *("-" if row[key] is None else f"{row[key]:.2f}" for key in ("kappa", "agreement")),
            )
            for behavior, row in one["behaviors"].items()
        ]
        yield f"{name}: {one['judged']:,} responses judged, {one['unreadable']:,} without a readable answer.\n"
        dropped = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in sorted(one["dropped_quotes"].items()))
        yield f"{markdown(header, rows)}\n\nQuotes that do not count: {dropped or 'none'}.\n"
    if "second_minus_first" in found:
        yield from _differences(report, found["second_minus_first"])


def _differences(report: Mapping[str, Any], differences: Mapping[str, Any]) -> Iterator[str]:
    first, second = (one["name"] for one in report["samples"])
    rows = [
        (
            behavior,
            shown(one["per_response"]),
            shown(one["per_thousand"]),
            "differs" if one["per_thousand"]["separated"] else "cannot be separated",
        )
        for behavior, one in differences.items()
    ]
    yield f"{second} minus {first}, on the same problems\n"
    yield markdown(("behavior", "per response", f"per 1,000 {report['length_unit']}", "per 1,000, it"), rows) + "\n"
