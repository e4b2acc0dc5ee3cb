"""Evaluations and comparisons as tables for a terminal."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rl_distill.evaluation.paired import P_DIGITS

if TYPE_CHECKING:  # importing them loads torch, which a table does without
    from rl_distill.evaluation.benchmark_score import BenchmarkScore
    from rl_distill.evaluation.comparison import Comparison

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


def comparison_rows(comparisons: "Mapping[str, Comparison]") -> list[tuple[str, ...]]:
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
