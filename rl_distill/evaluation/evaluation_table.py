"""Evaluations and comparisons as tables for a terminal, and as numbers for a frame."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rl_distill.evaluation.paired import P_DIGITS, Comparison

if TYPE_CHECKING:  # importing them loads torch, which a table does without
    from rl_distill.evaluation.benchmark_score import BenchmarkScore

EVALUATION_HEADER = ("benchmark", "avg@k", "95 % interval", "pass@k", "maj@k", "tokens", "truncated", "unverifiable", "problems")
COMPARISON_HEADER = ("benchmark", "A", "B", "B - A", "95 % interval", "p", "B better", "B worse", "same")


def evaluation_rows(scores: "Mapping[str, BenchmarkScore]") -> list[tuple[str, ...]]:
    """Text cells below `EVALUATION_HEADER`; k of pass@k and maj@k is the largest that is known."""
    return [
        (
            name,
            f"{one.accuracy.mean:.3f} (k={one.num_samples})",
            f"{one.accuracy.low:.3f} - {one.accuracy.high:.3f}",
            _largest(one.pass_at),
            _largest(one.majority_at),
            f"{one.mean_tokens:,.0f}",
            f"{one.truncated_fraction:.1%}",
            str(one.unverifiable),
            str(one.num_problems),
        )
        for name, one in scores.items()
    ]


def comparison_rows(comparisons: Mapping[str, Comparison]) -> list[tuple[str, ...]]:
    """Text cells below `COMPARISON_HEADER`."""
    return [
        (
            name,
            f"{one.first:.3f}",
            f"{one.second:.3f}",
            f"{one.paired.difference.mean:+.3f}",
            f"{one.paired.difference.low:+.3f} to {one.paired.difference.high:+.3f}",
            f"{one.paired.p_value:.{P_DIGITS}f}",
            *(str(count) for count in (one.paired.wins, one.paired.losses, one.paired.ties)),
        )
        for name, one in comparisons.items()
    ]


def evaluation_numbers(scores: "Mapping[str, BenchmarkScore]") -> Iterator[dict[str, Any]]:
    """The same in full, a column for each k; None is not known."""
    for name, one in scores.items():
        yield {
            "benchmark": name,
            "accuracy": one.accuracy.mean,
            "low": one.accuracy.low,
            "high": one.accuracy.high,
            **{f"pass@{k}": value for k, value in one.pass_at.items()},
            **{f"maj@{k}": value for k, value in one.majority_at.items()},
            "samples": one.num_samples,
            "mean_tokens": one.mean_tokens,
            "truncated_fraction": one.truncated_fraction,
            "unverifiable": one.unverifiable,
            "problems": one.num_problems,
        }


def comparison_numbers(comparisons: Mapping[str, Comparison]) -> Iterator[dict[str, Any]]:
    """The same in full."""
    for name, one in comparisons.items():
        yield {
            "benchmark": name,
            "first": one.first,
            "second": one.second,
            "difference": one.paired.difference.mean,
            "low": one.paired.difference.low,
            "high": one.paired.difference.high,
            "p_value": one.paired.p_value,
            "wins": one.paired.wins,
            "losses": one.paired.losses,
            "ties": one.paired.ties,
            "problems": one.num_problems,
        }


def benchmark_lines() -> Iterator[str]:
    """The benchmarks that come with the package, with all that is known about them."""
    from rl_distill.evaluation.benchmark import benchmark_names, load_benchmark

    for name in benchmark_names():
        one = load_benchmark(name)
        sizes = " or ".join(map(str, one.published_sizes))
        yield f"{name} (version {one.version}): {one.about}; {sizes} problems, {one.num_samples} samples each"
        yield f"  from {one.source}; license: {one.license}"
        yield from (f"  {caveat}" for caveat in one.caveats)


def _largest(values: Mapping[int, float | None]) -> str:
    known = {k: value for k, value in values.items() if value is not None}
    return f"{known[max(known)]:.3f} (k={max(known)})" if known else "-"
