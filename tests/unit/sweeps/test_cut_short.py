"""Cells that come to no result: what their accounts say, which alarms rang in them, and what they took."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from run_costs import result, write_run

from rl_distill.errors import InputError
from rl_distill.recipe import load_recipe
from rl_distill.sealing import sealed
from rl_distill.sweeps import cell_process
from rl_distill.sweeps.accounts import Account, read_account, recipe_digest, write_account
from rl_distill.sweeps.cell_process import Order
from rl_distill.sweeps.cells import Cell
from rl_distill.sweeps.plan import PlannedCell
from rl_distill.sweeps.results import cell_result
from rl_distill.tracking import Wandb
from rl_distill.training.interruption import StoppedByAlarm

REASON = "alarm flat_reward:probes stopped stage 'redi' after step 3: all 0.5; no spread"


def cut_short(folder: Path, state: str, reason: str = REASON) -> PlannedCell:
    """A cell that trained sft, and three steps of redi, of which the last saved one is the second."""
    run = write_run(folder / "cell", {"base": result(2), "sft": result(2, trained=6)})
    alarms = [{}, {"alarm/collapse": 1.0, "alarm/flat_reward": 0.0}, {"beside/probes/alarm/flat_reward": 1.0}]
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"stage": "redi", "step": step, **found}) + "\n" for step, found in enumerate(alarms))
    progress = {"step": 2, "generated_tokens": 0, "trained_tokens": 5, "seconds": 4.0, "work": {}}
    with sealed(run / "checkpoints" / "redi" / "step-00000002") as working:
        (working / "state.json").write_text(json.dumps({"progress": progress, "evaluations": {}}))
    recipe = load_recipe(run / "recipe.yaml")
    cell = Cell(variant="hot", seed=0, values={}, recipe=recipe, outcome="redi")
    account = folder / "accounts" / "hot-0.json"
    write_account(account, Account(state=state, reason=reason, recipe=recipe_digest(recipe)))  # type: ignore[arg-type]
    return PlannedCell(cell=cell, keys={"redi": "now"}, shared=(), cache=None, account=account, order=account, log=account)


@pytest.mark.parametrize(
    ("state", "alarms"), [("stopped", ("flat_reward:probes", "collapse")), ("failed", ("collapse", "flat_reward:probes"))]
)
def test_all_alarms_of_a_cell_without_a_result_are_counted(tmp_path: Path, state: str, alarms: tuple[str, ...]) -> None:
    assert cell_result(cut_short(tmp_path, state)).alarms == alarms


def test_a_stopped_cell_costs_its_finished_stages_and_the_saved_steps_of_the_one_it_was_stopped_in(tmp_path: Path) -> None:
    costs = cell_result(cut_short(tmp_path, "stopped")).costs
    assert costs is not None and costs["trained_tokens"] == 6 + 5 and costs["device_seconds"] == 4.0 + 4.0


def test_a_cell_whose_folder_tells_nothing_costs_what_nobody_knows(tmp_path: Path) -> None:
    planned = cut_short(tmp_path, "failed")
    (planned.folder / "metrics.jsonl").write_text("no line of metrics\n")
    found = cell_result(planned)
    assert (found.costs, found.alarms) == (None, ())


def test_a_cell_has_a_name_of_its_own_in_weights_and_biases(tmp_path: Path, monkeypatch) -> None:
    planned, seen = cut_short(tmp_path, "unfinished"), []
    recipe = replace(planned.cell.recipe, tracking=replace(planned.cell.recipe.tracking, wandb=Wandb(mode="offline")))
    monkeypatch.setattr(cell_process, "train", lambda recipe, *given, **named: seen.append(recipe))
    monkeypatch.setattr(cell_process, "write_run_pages", lambda *given: None)
    monkeypatch.setattr(cell_process, "die_with", lambda *given: None)
    order = Order.of(recipe, shared=[], account=planned.account, threads=1, command=["x"])
    order.write(tmp_path / "order.json")
    assert cell_process.main(str(tmp_path / "order.json")) == 0
    assert seen[0].tracking.wandb.name == "tiny-hot-0" and read_account(planned.account, recipe).state == "done"


def account_of(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Account:
    """Of a cell whose training ends with this error."""

    def train(*given: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(cell_process, "train", train)
    monkeypatch.setattr(cell_process, "die_with", lambda *given: None)
    planned = cut_short(folder, "unfinished")
    order = Order.of(planned.cell.recipe, shared=[], account=planned.account, threads=1, command=["x"])
    order.write(folder / "orders" / "hot-0.json")
    cell_process.main(str(folder / "orders" / "hot-0.json"))
    return read_account(planned.account, planned.cell.recipe)


def test_an_account_says_which_alarm_of_which_objective_stopped_the_cell_and_what_it_saw(tmp_path: Path, monkeypatch) -> None:
    stop = StoppedByAlarm(f"{REASON}; to go on regardless, add alarms.flat_reward.action=warn")
    found = account_of(tmp_path, monkeypatch, stop)
    assert replace(found, recipe="", made="") == Account(state="stopped", reason=REASON)


def test_a_refused_run_folder_has_a_remedy_that_a_sweep_has(tmp_path: Path, monkeypatch) -> None:
    refusal = InputError(
        "run_dir", "'cell' holds a run of another recipe", "choose another with run_dir=PATH, or remove the folder"
    )
    found = account_of(tmp_path, monkeypatch, refusal)
    assert found.state == "failed" and "run_dir=" not in found.reason
    assert found.reason.endswith("choose another with folder=PATH of the sweep, or remove that folder")
