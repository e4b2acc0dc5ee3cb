"""Whether two students differ: behind `rl-distill compare` and `rl_distill.compare`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rl_distill.errors import InputError
from rl_distill.evaluation.comparison_notes import comparison_notes
from rl_distill.evaluation.evaluation_folder import differences
from rl_distill.evaluation.evaluation_table import COMPARISON_HEADER, comparison_numbers, comparison_rows
from rl_distill.evaluation.measured import Measured, MeasuredBenchmark, read_measured
from rl_distill.evaluation.paired import FEWEST_PROBLEMS, LEVEL, P_DIGITS, Comparison, PairedDifference, paired_difference
from rl_distill.frames import frame
from rl_distill.markdown_table import markdown

if TYPE_CHECKING:
    import pandas

_NAMES = {
    "problems_hash": "different problem sets",
    "version": "different versions of the benchmark",
    "prompt": "different prompt versions",
    "grader": "different graders",
    "sampling": "different sampling",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonReport:
    """
    first, second  what the user called them
    comparisons    by benchmark
    notes          what a reader has to know, a line each
    """

    first: str
    second: str
    comparisons: dict[str, Comparison]
    notes: tuple[str, ...]

    @property
    def frame(self) -> "pandas.DataFrame":
        """A row for each benchmark: both accuracies, the paired difference with its 95 % interval, p, counts of problems."""
        return frame(comparison_numbers(self.comparisons), "benchmark")

    def __str__(self) -> str:
        return "\n".join([self._heading, "", self._table, "", *self._said])

    def _repr_markdown_(self) -> str:
        return "\n\n".join([self._heading, self._table, *self._said])

    @property
    def _heading(self) -> str:
        return f"A: {self.first}   B: {self.second}"

    @property
    def _table(self) -> str:
        return markdown(COMPARISON_HEADER, comparison_rows(self.comparisons))

    @property
    def _said(self) -> list[str]:
        return [*(one.sentence for one in self.comparisons.values()), *(f"note: {note}" for note in self.notes)]


def compare(first: str | Path, second: str | Path, benchmarks: Sequence[str] | None = None, *, seed: int = 0) -> ComparisonReport:
    """Compare two students on benchmarks that both were measured on, problem by problem.

    Args:
        first: an evaluation's folder, a run's (its last stage) or `RUN:STAGE` whose stage was evaluated.
        second: likewise, what is compared with it.
        benchmarks: names; none is all that both have.
        seed: of the test, where it draws.

    Raises:
        InputError: nothing was measured there, both are the same evaluation, or not the same was measured: other problems,
            prompts, graders or sampling, by name.
    """
    one, other = read_measured(str(first)), read_measured(str(second))
    if one.place == other.place:
        raise InputError("A and B", f"are one and the same evaluation ({str(one.place)!r})", "give two different ones")
    shared = [name for name in one.benchmarks if name in other.benchmarks]
    for name in benchmarks or ():
        for side in (one, other):
            if name not in side.benchmarks:
                problem = f"{side.label!r} was not measured on {name!r}"
                raise InputError("--benchmarks", problem, f"it has {', '.join(side.benchmarks) or 'none'}")
    chosen = list(benchmarks or shared)
    if not chosen:
        has = "; ".join(f"{side.label!r} has {', '.join(side.benchmarks) or 'none'}" for side in (one, other))
        raise InputError("A and B", f"were measured on no benchmark in common ({has})", "evaluate both on the same one")
    comparisons = {name: _compared(name, one, other, seed) for name in chosen}
    notes = comparison_notes(one, other, {name: found.left_out for name, found in comparisons.items()})
    return ComparisonReport(first=one.label, second=other.label, comparisons=comparisons, notes=tuple(notes))


def sentence(benchmark: str, first: str, second: str, count: int, found: PairedDifference) -> str:
    """What may be said, in words: as the p-value has it, and with a word where the interval does not agree."""
    digits = 2 if found.detectable >= 0.05 else 3
    mean, low, high = (f"{value:+.{digits}f}" for value in found.difference)
    p_value = f"p = {found.p_value:.{P_DIGITS}f}"
    if found.separated:
        better = second if found.difference.mean > 0 else first
        doubt = "" if found.interval_agrees else ", though the interval holds 0: this is the border"
        return f"{benchmark}: {better} is better by {mean[1:]} ({second} - {first}: {mean}, {low} to {high}; {p_value}){doubt}"
    if count < FEWEST_PROBLEMS:
        able = f"are too few for any difference to have p < {LEVEL}"
    else:
        able = f"resolve differences of about {found.detectable:.{digits}f} or more"
    doubt = "" if found.interval_agrees else ", though the interval leaves 0 out: this is the border"
    return f"{benchmark} cannot separate them ({p_value}): {count} problems {able}; measured {mean} ({low} to {high}){doubt}"


def _compared(name: str, one: Measured, other: Measured, seed: int) -> Comparison:
    before, after = one.benchmarks[name], other.benchmarks[name]
    _check_same(name, before, after)
    both = [problem for problem in before.accuracy if problem in after.accuracy]
    if not both:
        raise InputError(f"benchmark {name!r}", "has no problem at which both were judged", "look at the unverifiable attempts")
    found = paired_difference([after.accuracy[problem] - before.accuracy[problem] for problem in both], seed=seed)
    return Comparison(
        benchmark=name,
        first=sum(before.accuracy[problem] for problem in both) / len(both),
        second=sum(after.accuracy[problem] for problem in both) / len(both),
        num_problems=len(both),
        left_out=before.num_problems - len(both),
        paired=found,
        sentence=sentence(name, one.label, other.label, len(both), found),
    )


def why_not_comparable(before: MeasuredBenchmark, after: MeasuredBenchmark) -> str | None:
    """What was different when the two were measured; None where they can be compared."""
    return next((what for key, what in _NAMES.items() if before.settings[key] != after.settings[key]), None)


def _check_same(name: str, before: MeasuredBenchmark, after: MeasuredBenchmark) -> None:
    for key, what in _NAMES.items():
        for place, then, now in differences({key: before.settings[key]}, {key: after.settings[key]}):
            detail = f" ({place} is {then!r} in the first and {now!r} in the second)"
            if key == "problems_hash":
                detail = f" ({before.num_problems} problems in the first and {after.num_problems} in the second)"
            raise InputError(
                f"benchmark {name!r}", f"was measured on {what}{detail}", "evaluate both again on the same version of it"
            )
