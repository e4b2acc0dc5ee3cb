"""`analysis.json` as a page of Markdown that a person reads."""

from collections.abc import Iterator, Mapping
from typing import Any

from rl_distill.analysis.behavior_page import judge_lines, keyword_lines
from rl_distill.analysis.list_language import language_notes
from rl_distill.analysis.moved_page import moved_lines
from rl_distill.analysis.rates import shown
from rl_distill.markdown_table import markdown


def page(report: Mapping[str, Any]) -> str:
    """The whole page; figures are linked beside it."""
    parts = [*_samples(report), *_classes(report), *_lengths(report)]
    parts += keyword_lines(report)
    if "judge_failure" in report:
        parts.append(f"## Behaviors by judge\n\nNone: {report['judge_failure']}.\n")
        parts.append("All else on this page is whole; the same command asks for what is missing.\n")
    if "behaviors" in report:
        parts += judge_lines(report)
    if "moved" in report:
        parts += moved_lines(report)
    return "\n".join(parts) + "\n"


def _samples(report: Mapping[str, Any]) -> Iterator[str]:
    yield "# Analysis\n"
    header = ("samples", "problems", "responses", "correct", "wrong", "unverifiable", "unfinished", "empty")
    rows = [
        (
            one["name"],
            *(f"{one[key]:,}" for key in ("problems", "responses")),
            *(f"{one['verdicts'].get(status, 0):,}" for status in ("correct", "wrong", "unverifiable")),
            *(f"{one[key]:,}" for key in ("unfinished", "empty")),
        )
        for one in report["samples"]
    ]
    yield markdown(header, rows)
    draws = report["bootstrap"]["draws"]
    yield f"\nIntervals are 95 %, from {draws:,} draws of whole problems. Lengths are in {report['length_unit']}.\n"


def _classes(report: Mapping[str, Any]) -> Iterator[str]:
    classes, unit = report["token_classes"], report["length_unit"]
    yield f"## Token classes\n\nLists: version {classes['version']}, sha256 {classes['sha256'][:16]}.\n"
    header = ("class", "count", f"per 1,000 {unit}", "in correct", "in wrong", "inside thinking", "outside", "share of responses")
    for name, found in classes["sets"].items():
        rows = [
            (
                label,
                f"{one['all']['count']:,}",
                *(shown(one[status]["per_thousand"]["whole"]) for status in ("all", "correct", "wrong")),
                *(shown(one["all"]["per_thousand"][region]) for region in ("inside", "outside")),
                shown(one["all"]["share_of_responses"]),
            )
            for label, one in found.items()
        ]
        yield f"{name}\n\n{markdown(header, rows)}\n"
    yield from (f"{note}.\n" for note in language_notes(classes["language"]))
    if difference := classes.get("second_minus_first"):
        yield from _difference(report, difference)
    yield "![occurrences along a response](classes.png)\n"


def _difference(report: Mapping[str, Any], difference: Mapping[str, Any]) -> Iterator[str]:
    first, second = (one["name"] for one in report["samples"])
    yield f"{second} minus {first}, per 1,000 {report['length_unit']}, on the same problems\n"
    rows = []
    for label, one in difference["classes"].items():
        verdict = "differs" if one["length_matched"]["separated"] else "cannot be separated"
        rows.append((label, *(shown(one[key]) for key in ("whole", "inside", "outside", "length_matched")), verdict))
    yield markdown(("class", "difference", "inside thinking", "outside", "length-matched", "length-matched, it"), rows)
    shares = " and ".join(f"{share:.0%}" for share in difference["reach_it"])
    limit = difference["matched_length"]
    yield f"\nLength-matched: responses cut after {limit:g} {report['length_unit']}, which {shares} of them reach.\n"


def _lengths(report: Mapping[str, Any]) -> Iterator[str]:
    yield "## Length and budget\n"
    header = ("samples", "responses", "mean", "median", "90 %", "longest", "unfinished")
    rows = [
        (
            f"{name}, {status}",
            f"{one['responses']:,}",
            f"{one['mean']:.1f}",
            *(f"{one['quantiles'][key]:g}" for key in ("50", "90", "100")),
            f"{one['unfinished']:,}",
        )
        for name, statuses in report["lengths"].items()
        for status, one in statuses.items()
    ]
    yield markdown(header, rows) + "\n"
    for name, end in report["budget_ends"].items():
        if end["cut_off"]:
            cut = f"{end['cut_off']:,} of {end['judged']:,} judged responses of {name} were cut off, the shortest after"
            rest = "its accuracy within a budget is shown no further, for nobody knows what they would have said"
            yield f"{cut} {end['ends_at']:,} {report['length_unit']}: {rest}.\n"
    yield "![lengths by verdict, accuracy within a budget](lengths.png)\n"
