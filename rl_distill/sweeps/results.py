"""What became of each cell, from its run folder, and what its variants come to over seeds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rl_distill.analysis.costs import run_costs
from rl_distill.evaluation.comparison import why_not_comparable
from rl_distill.evaluation.measured import IN_RUN, MeasuredBenchmark, read_measured
from rl_distill.evaluation.over_seeds import MeanOverSeeds, holm, mean_over_seeds
from rl_distill.sweeps.accounts import Account
from rl_distill.sweeps.cell_costs import COSTS, Costs, added_costs, amount_text, costs_of, mean_costs
from rl_distill.sweeps.cut_short import DAMAGED, alarms_left, costs_left
from rl_distill.sweeps.plan import PlannedCell


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """
    accuracy  held out, of the outcome stage, with its interval over problems; None of a cell that is not done
    alarms    names of those that fired in it, also before it was stopped
    costs     of the way from base to the outcome, by name; of a cell without a result, up to its last saved step
    """

    planned: PlannedCell
    account: Account
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    measured: MeasuredBenchmark | None = None
    alarms: tuple[str, ...] = ()
    costs: Costs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A variant over its seeds.

    seeds       that are done: all means are theirs
    stopped     seeds that an alarm ended
    difference  to the baseline, paired by seed; None of the baseline, or where nothing can be compared
    corrected   its p value among those of all rows (Holm)
    costs       means over seeds
    spent       by the seeds without a result, all together, which is in no mean; None where there are none
    remarks     what a reader has to know, a line each
    """

    variant: str
    planned_seeds: int
    seeds: tuple[int, ...]
    stopped: tuple[int, ...]
    accuracy: MeanOverSeeds | None
    difference: MeanOverSeeds | None
    corrected: float | None
    alarms: Mapping[str, int]
    costs: Costs
    spent: Costs | None
    remarks: tuple[str, ...]


def cell_result(planned: PlannedCell) -> CellResult:
    """What its folder says; a folder that cannot be read makes a cell unfinished, and costs no other cell its row."""
    account = planned.ended()
    if account.state != "done":
        left = alarms_left(planned.folder, account)
        return CellResult(planned=planned, account=account, alarms=left, costs=costs_left(planned))
    try:
        return _done(planned, account)
    except (*DAMAGED, StopIteration) as error:
        why = f"its run folder is damaged ({error}): remove {planned.folder} and give the same command again"
        return CellResult(planned=planned, account=Account(state="unfinished", reason=" ".join(why.split())))


def _done(planned: PlannedCell, account: Account) -> CellResult:
    folder, outcome = planned.folder, planned.cell.outcome
    evaluation = json.loads((folder / "stages" / outcome / "result.json").read_text())["evaluation"]
    summary = json.loads((folder / "summary.json").read_text())
    route = next(route for route in run_costs(folder).routes if route.name == outcome)
    return CellResult(
        planned=planned,
        account=account,
        **{name: evaluation[name] for name in ("accuracy", "low", "high")},
        measured=read_measured(f"{folder}:{outcome}").benchmarks[IN_RUN],
        alarms=tuple(dict.fromkeys(alarm["alarm"] for alarm in summary["alarms"])),
        costs=costs_of(route.cost),
    )


def rows_of(results: Sequence[CellResult], baseline: str | None) -> list[Row]:
    """One for each variant, in their order. All p values of the table are corrected together."""
    variants: dict[str, list[CellResult]] = {}
    for result in results:
        variants.setdefault(result.planned.cell.variant, []).append(result)
    against = variants.get(baseline, []) if baseline is not None else []
    compared = {name: _difference(found, against) for name, found in variants.items() if against and name != baseline}
    p_values = {name: one.p_value for name, (one, _) in compared.items() if one is not None and one.p_value is not None}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [_row(name, found, *compared.get(name, (None, ())), corrected.get(name)) for name, found in variants.items()]


def _difference(found: Sequence[CellResult], against: Sequence[CellResult]) -> tuple[MeanOverSeeds | None, tuple[str, ...]]:
    """Paired by seed, with what kept seeds from being compared."""
    by_seed = {one.planned.cell.seed: one for one in against}
    differences, remarks = [], []
    for one in found:
        other = by_seed.get(one.planned.cell.seed)
        if one.measured is None or one.accuracy is None:
            continue
        if other is None or other.measured is None or other.accuracy is None:
            remarks.append(f"seed {one.planned.cell.seed} not compared: the baseline has no result")
        elif why := why_not_comparable(other.measured, one.measured):
            remarks.append(f"seed {one.planned.cell.seed} not compared: measured on {why} than the baseline")
        else:
            differences.append(one.accuracy - other.accuracy)
    return (mean_over_seeds(differences) if differences else None), tuple(remarks)


def _row(
    variant: str,
    found: Sequence[CellResult],
    difference: MeanOverSeeds | None,
    not_compared: Sequence[str],
    corrected: float | None,
) -> Row:
    done = [one for one in found if one.accuracy is not None]
    bad = [one for one in found if one.account.state != "done"]
    aged = [one.planned.cell.seed for one in done if _aged(one)]
    spent = [one.costs for one in bad if one.costs is not None]
    alarms = [alarm for one in found for alarm in one.alarms]
    row = Row(
        variant=variant,
        planned_seeds=len(found),
        seeds=tuple(one.planned.cell.seed for one in done),
        stopped=tuple(one.planned.cell.seed for one in bad if one.account.state == "stopped"),
        accuracy=mean_over_seeds([one.accuracy for one in done if one.accuracy is not None]) if done else None,
        difference=difference,
        corrected=corrected,
        alarms={alarm: alarms.count(alarm) for alarm in dict.fromkeys(alarms)},
        costs=mean_costs([one.costs for one in done if one.costs is not None]),
        spent=added_costs(spent) if spent else None,
        remarks=(
            *(f"seed {one.planned.cell.seed} {one.account.state}: {one.account.reason}" for one in bad),
            *([f"{_seeds_were(aged)} made by other code or data than there is now"] if aged else []),
            *not_compared,
        ),
    )
    return replace(row, remarks=(*row.remarks, *_about_means(row)))


def _seeds_were(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]} was" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))} were"


def _about_means(row: Row) -> Iterator[str]:
    """What they leave out, and why an interval or a test is missing."""
    if row.stopped and row.seeds:
        yield (
            f"{len(row.stopped)} of {row.planned_seeds} seeds were stopped by an alarm and are in no mean, difference or p: "
            "those of the seeds that survived flatter this variant"
        )
    if row.spent is not None:
        amounts = ", ".join(f"{name.replace('_', ' ')} {amount_text(name, row.spent[name])}" for name in COSTS)
        yield f"the means leave out what seeds without a result took: {amounts}"
    for found, what, spread in (
        (row.accuracy, "interval of the accuracy", "have the same one"),
        (row.difference, "test", "differ from the baseline by the same amount"),
    ):
        if found is not None and found.no_spread:
            yield f"no {what}: all {found.count} seeds {spread}, so that there is no spread to measure it by"
        elif found is not None and found.count == 1 < row.planned_seeds:
            yield f"no {what}: there is only one seed for it"


def _aged(result: CellResult) -> bool:
    return bool(result.account.made) and result.account.made != result.planned.made


def result_data(result: CellResult) -> dict[str, Any]:
    """As `sweep.json` has it; paths from the sweep's folder."""
    cell = result.planned.cell
    return {
        "name": cell.name,
        "variant": cell.variant,
        "seed": cell.seed,
        "values": dict(cell.values),
        "outcome": cell.outcome,
        "run": f"cells/{cell.name}",
        "log": f"logs/{cell.name}.log",
        "state": result.account.state,
        "reason": result.account.reason,
        **{name: getattr(result, name) for name in ("accuracy", "low", "high", "costs")},
        "problems_hash": result.measured.settings["problems_hash"] if result.measured else None,
        "alarms": list(result.alarms),
    }
