"""The table of a sweep from cells with known accuracies: means, pairs, corrections, and what is not compared."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import taught, write_recipe

from rl_distill.evaluation.measured import MeasuredBenchmark
from rl_distill.evaluation.over_seeds import holm, mean_over_seeds
from rl_distill.recipe import Recipe, load_recipe
from rl_distill.sweeps.accounts import Account, recipe_digest, write_account
from rl_distill.sweeps.cell_costs import COSTS, Costs
from rl_distill.sweeps.cells import Cell
from rl_distill.sweeps.plan import PlannedCell
from rl_distill.sweeps.results import CellResult, Row, cell_result, rows_of
from rl_distill.sweeps.sweep_table import as_csv, as_latex, as_markdown, row_data, table_cells

SETTINGS: dict[str, Any] = {"problems_hash": "one", "version": None, "prompt": {}, "grader": [], "sampling": {}}
RECIPE: Recipe = None  # type: ignore[assignment]  # the table reads results only


def done(variant: str, seed: int, accuracy: float, problems: str = "one", **changes: Any) -> CellResult:
    cell = Cell(variant=variant, seed=seed, values={}, recipe=RECIPE, outcome="sft")
    nowhere = Path("nowhere")
    planned = PlannedCell(cell=cell, keys={"sft": "now"}, shared=(), cache=None, account=nowhere, order=nowhere, log=nowhere)
    measured = MeasuredBenchmark(settings=SETTINGS | {"problems_hash": problems}, accuracy={}, num_problems=4, num_samples=2)
    found = CellResult(
        planned=planned,
        account=Account(state="done"),
        accuracy=accuracy,
        low=0.0,
        high=1.0,
        measured=measured,
        costs=dict.fromkeys(COSTS, 100.0 * (seed + 1)),
    )
    return replace(found, **changes)


def ended(
    variant: str, seed: int, state: Any, reason: str, alarms: tuple[str, ...] = (), costs: Costs | None = None
) -> CellResult:
    account = Account(state=state, reason=reason)
    return replace(done(variant, seed, 0.0), account=account, accuracy=None, measured=None, costs=costs, alarms=alarms)


BASELINE = [done("base", seed, accuracy) for seed, accuracy in enumerate((0.5, 0.6, 0.4))]
BETTER = [done("better", seed, accuracy) for seed, accuracy in enumerate((0.61, 0.70, 0.49))]
SAME = [done("same", seed, accuracy) for seed, accuracy in enumerate((0.52, 0.59, 0.39))]


def rows(*results: CellResult, baseline: str | None = "base") -> dict[str, Row]:
    return {row.variant: row for row in rows_of(results, baseline)}


def test_differences_are_paired_by_seed_and_corrected_over_all_rows() -> None:
    found = rows(*BASELINE, *BETTER, *SAME)
    better = found["better"].difference
    assert better is not None and better == mean_over_seeds([0.61 - 0.5, 0.70 - 0.6, 0.49 - 0.4])
    p_values = [row.difference.p_value for row in found.values() if row.difference is not None]
    assert [found[name].corrected for name in ("better", "same")] == holm([p for p in p_values if p is not None])
    assert found["base"].difference is None and found["base"].corrected is None
    assert found["base"].accuracy == mean_over_seeds([0.5, 0.6, 0.4])


def test_a_seed_that_failed_is_in_no_mean_and_its_reason_in_the_table() -> None:
    found = rows(*BASELINE, *BETTER[:2], ended("better", 2, "failed", "disk: full; make room"))
    assert found["better"].seeds == (0, 1) and found["better"].remarks == ("seed 2 failed: disk: full; make room",)
    assert found["better"].difference == mean_over_seeds([0.61 - 0.5, 0.70 - 0.6])
    table = as_markdown(list(found.values()), "base", seeds=3)
    assert "| 2 of 3 |" in table and "disk: full; make room" in table


def test_a_seed_that_other_code_or_data_made_is_named() -> None:
    old, new = (
        replace(one, account=Account(state="done", made=made)) for one, made in zip(BETTER, ("then", "now"), strict=False)
    )
    assert rows(*BASELINE, old, new)["better"].remarks == ("seed 0 was made by other code or data than there is now",)
    older = [replace(one, account=old.account) for one in BETTER]
    assert rows(*BASELINE, *older)["better"].remarks == ("seeds 0, 1, 2 were made by other code or data than there is now",)


def test_a_damaged_cell_is_unfinished_with_its_reason_and_costs_no_other_its_row(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, taught("sft")).path)
    cell = Cell(variant="arm", seed=0, values={}, recipe=recipe, outcome="sft")
    place = tmp_path / "account.json"
    write_account(place, Account(state="done", recipe=recipe_digest(recipe)))
    recipe.folder.mkdir(parents=True)
    (recipe.folder / "summary.json").write_text("{}")
    planned = PlannedCell(cell=cell, keys={"sft": "now"}, shared=(), cache=None, account=place, order=place, log=place)
    found = cell_result(planned)
    assert found.account.state == "unfinished" and str(recipe.folder) in found.account.reason
    assert rows(*BASELINE, found)["arm"].seeds == ()


def test_a_seed_without_its_baseline_is_not_compared() -> None:
    found = rows(*BASELINE[:2], ended("base", 2, "failed", "x"), *BETTER)
    assert found["better"].remarks == ("seed 2 not compared: the baseline has no result",)
    assert found["better"].difference == mean_over_seeds([0.61 - 0.5, 0.70 - 0.6])


def test_cells_measured_on_other_problems_are_not_compared() -> None:
    found = rows(*BASELINE, *(done("other", seed, 0.9, problems="two") for seed in range(3)))
    assert found["other"].difference is None and found["other"].accuracy is not None
    assert found["other"].remarks[0] == "seed 0 not compared: measured on different problem sets than the baseline"


def test_an_alarm_that_stopped_a_cell_is_counted_and_said() -> None:
    stopped = ended("hot", 1, "stopped", "alarm collapse stopped stage 'redi' after step 3", ("collapse",))
    row = rows(*BASELINE, done("hot", 0, 0.1, alarms=("collapse",)), stopped)["hot"]
    assert row.alarms == {"collapse": 2} and row.remarks[0] == "seed 1 stopped: alarm collapse stopped stage 'redi' after step 3"


STOPPED = [
    *BASELINE,
    *BETTER[:2],
    ended(
        "better",
        2,
        "stopped",
        "alarm collapse stopped stage 'redi' after step 3: 50 % < 80 %",
        ("collapse",),
        dict.fromkeys(COSTS, 7.0),
    ),
]


def test_every_form_of_the_table_says_how_many_seeds_were_stopped_and_that_the_others_flatter() -> None:
    found = rows(*STOPPED)
    row = found["better"]
    assert (row.planned_seeds, row.seeds, row.stopped) == (3, (0, 1), (2,)) and found["base"].stopped == ()
    assert any("1 of 3 seeds were stopped" in remark and "flatter" in remark for remark in row.remarks)
    assert table_cells(row)[:3] == ("better", "2 of 3", "1")
    _, line = csv.DictReader(io.StringIO(as_csv(list(found.values()))))
    assert (line["planned_seeds"], line["seeds"], line["stopped_seeds"]) == ("3", "2", "1") and "flatter" in line["remarks"]
    latex = as_latex(list(found.values()), "base")
    assert r"better & 2/3 & 1 & " in latex and "flatter" in latex and r"50 \% $<$ 80 \%" in latex
    data = row_data(row)
    assert data["stopped_seeds"] == [2] and data["spent_without_result"] == dict.fromkeys(COSTS, 7.0)


def test_what_seeds_without_a_result_took_is_said_and_is_in_no_mean() -> None:
    row = rows(*STOPPED)["better"]
    assert row.costs == dict.fromkeys(COSTS, 150.0), "of seeds 0 and 1"
    assert row.spent == dict.fromkeys(COSTS, 7.0) and any("sampled tokens 7, trained tokens 7" in one for one in row.remarks)
    assert rows(*BASELINE, ended("dark", 0, "failed", "x"))["dark"].spent is None, "its folder does not tell"


def test_seeds_that_all_differ_by_the_same_amount_have_no_test_and_the_row_says_why() -> None:
    shifted = [done("shifted", seed, accuracy + 0.125) for seed, accuracy in enumerate((0.5, 0.6, 0.4))]
    row = rows(*BASELINE, *shifted)["shifted"]
    assert row.difference is not None and row.difference.mean == pytest.approx(0.125) and row.corrected is None
    assert any("no test: all 3 seeds differ from the baseline by the same amount" in one for one in row.remarks)
    level = rows(*(done("base", seed, 0.5) for seed in range(3)))["base"]
    assert any("no interval of the accuracy: all 3 seeds have the same one" in one for one in level.remarks)
    assert rows(*BASELINE)["base"].remarks == ()


def test_a_single_seed_that_is_left_has_no_test_and_the_row_says_so() -> None:
    row = rows(*BASELINE, BETTER[0], *(ended("better", seed, "failed", "x") for seed in (1, 2)))["better"]
    assert {"no test: there is only one seed for it", "no interval of the accuracy: there is only one seed for it"} <= set(
        row.remarks
    )


def test_one_seed_has_no_interval_and_the_table_says_so() -> None:
    found = list(rows(BASELINE[0], BETTER[0]).values())
    table = as_markdown(found, "base", seeds=1)
    assert table_cells(found[1])[3:9] == ("0.610", "-", "+0.110", "-", "-", "-")
    assert "One seed: no interval and no test." in table
    assert "One seed" not in as_markdown(found, "base", seeds=2)


def test_what_is_not_known_is_unknown_and_never_0() -> None:
    unknown = done("dark", 0, 0.5, costs=dict.fromkeys(COSTS, 1.0) | {"teacher_tokens": None})
    row = rows(unknown, done("dark", 1, 0.5))["dark"]
    assert row.costs["teacher_tokens"] is None and row.costs["trained_tokens"] == 100.5
    assert "unknown" in as_markdown([row], None, seeds=2)


def test_the_csv_has_every_number_in_full() -> None:
    found = list(rows(*BASELINE, *BETTER).values())
    first, second = csv.DictReader(io.StringIO(as_csv(found)))
    assert float(second["difference"]) == found[1].difference.mean and second["p_holm"] != ""  # type: ignore[union-attr]
    assert first["difference"] == "" and float(first["accuracy"]) == pytest.approx(0.5) and first["trained_tokens"] == "200.0"


def test_the_latex_escapes_names_and_has_as_many_columns_as_it_says() -> None:
    text = as_latex(list(rows(*BASELINE, *(replace_name(one, "a_b=50%") for one in BETTER)).values()), "base")
    lines = [line for line in text.splitlines() if " & " in line]
    assert all(line.count(" & ") == 5 for line in lines) and r"\begin{tabular}{lrrrrr}" in text
    assert r"a\_b=50\%" in text and r"\pm" in text


def replace_name(result: CellResult, name: str) -> CellResult:
    cell = replace(result.planned.cell, variant=name)
    return replace(result, planned=replace(result.planned, cell=cell))


def test_data_for_programs_says_null_where_nothing_is_known() -> None:
    data = row_data(rows(*BASELINE)["base"])
    assert data["difference"] is None and data["p"] is None and data["low"] < data["accuracy"] < data["high"]
