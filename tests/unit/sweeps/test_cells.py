"""From a sweep's file to its cells: names, what each changes, what is refused before the first one begins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import rolled_out, taught, write_recipe

from rl_distill.errors import InputError
from rl_distill.sweeps.cells import Cells, cells_of
from rl_distill.sweeps.naming import LONGEST_NAME, cut, short_keys, value_name
from rl_distill.sweeps.plan import plan
from rl_distill.sweeps.settings import Sweep, read_sweep_file

EVALUATION = {"problems": {"name": "arithmetic", "split": "heldout", "num_problems": 4, "levels": [1]}, "num_samples": 1}
COEF, RATE = "stages.redi.algorithm.negative_coef", "stages.redi.learner.learning_rate"
Load = Callable[..., tuple[Sweep, Cells]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def call(**keys: Any) -> tuple[Sweep, Cells]:
        stages = (taught("sft"), taught("redi", start="sft"), rolled_out(start="sft"))
        write_recipe(tmp_path, *stages, evaluation=EVALUATION)
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({"name": "tried", "recipe": "tiny.yaml", "folder": str(tmp_path / "out")} | keys))
        sweep = read_sweep_file(path)
        return sweep, cells_of(sweep, path)

    return call


def test_a_cell_for_every_arm_point_and_seed_with_a_name_that_says_which(load: Load) -> None:
    arms = [{"name": "a"}, {"name": "b", "set": {"stages.sft.steps": 3}}]
    _, cells = load(arms=arms, grid={COEF: [0, 0.5], RATE: [1e-5]}, seeds=[3, 4], outcome="redi")
    assert [cell.name for cell in cells.cells] == [
        f"{arm},negative_coef={coef},learning_rate=1e-05-{seed}" for arm in "ab" for coef in ("0", "0.5") for seed in (3, 4)
    ]
    last = cells.cells[-1].recipe
    assert (last.seed, last.stages[0].steps, last.stages[1].algorithm.negative_coef) == (4, 3, 0.5)  # type: ignore[union-attr]
    assert last.folder.name == cells.cells[-1].name and last.folder.parent.name == "cells"


def test_a_cell_trains_only_what_leads_to_its_outcome(load: Load) -> None:
    _, cells = load(arms=[{"name": "rl", "outcome": "grpo"}, {"name": "redi", "outcome": "redi"}])
    assert [[stage.name for stage in cell.recipe.stages] for cell in cells.cells] == [["sft", "grpo"], ["sft", "redi"]]
    assert [stage.start for stage in cells.cells[0].recipe.stages] == ["base", "sft"]


def test_cells_share_the_stages_that_are_the_same_and_no_others(load: Load) -> None:
    sweep, cells = load(grid={COEF: [0, 0.5]}, seeds=[0, 1], outcome="redi")
    planned = plan(sweep.path, cells.cells)
    shared = [{path.name for path in one.shared} for one in planned]
    assert [len(found) for found in shared] == [2] * 4, "base and sft"
    assert shared[0] == shared[2] and shared[1] == shared[3] and not shared[0] & shared[1], "seed by seed"
    assert len({one.cache for one in planned}) == 1 and planned[0].cache is not None


def test_seed_keys_say_what_takes_the_seed(load: Load) -> None:
    _, cells = load(seed_keys=["seed", "student.model.seed"], seeds=[7])
    assert (cells.cells[0].recipe.seed, cells.cells[0].recipe.student.model.seed) == (7, 7)  # type: ignore[union-attr]


def test_alarms_that_end_a_cell_are_set_to_stop(load: Load) -> None:
    alarms = load(stop_on=["collapse"])[1].cells[0].recipe.alarms
    assert (alarms.collapse.action, alarms.flat_reward.action) == ("stop", "warn")


def test_a_budget_replaces_the_length_of_the_outcome_alone(load: Load) -> None:
    constant = {f"stages.{name}.learner.warmup_fraction": 0 for name in ("sft", "grpo")}
    arms = [{"name": "rl", "outcome": "grpo"}, {"name": "sft", "outcome": "sft"}]
    _, cells = load(arms=arms, budget={"trained_tokens": 50}, set=constant)
    assert [(stage.name, stage.steps, stage.max_trained_tokens) for cell in cells.cells for stage in cell.recipe.stages] == [
        ("sft", 2, None),
        ("grpo", None, 50),
        ("sft", None, 50),
    ]


def test_a_key_that_changes_nothing_is_said_and_not_run_twice(load: Load) -> None:
    arms = [{"name": "redi", "outcome": "redi"}, {"name": "sft", "outcome": "sft"}]
    _, cells = load(arms=arms, grid={COEF: [0.1, 0.2]}, baseline="sft,negative_coef=0.2")
    assert cells.variants == ["redi,negative_coef=0.1", "redi,negative_coef=0.2", "sft,negative_coef=0.1"]
    assert cells.notes == (
        f"note: cell 'sft,negative_coef=0.2' has the outcome of 'sft,negative_coef=0.1', for {COEF} changes nothing there: "
        "it is left out",
    )
    assert cells.baseline == "sft,negative_coef=0.1", "a baseline that was left out is the one that is the same"


def test_a_value_that_stands_there_twice_is_said(load: Load) -> None:
    _, cells = load(grid={COEF: [0.5, 0.5]}, outcome="redi")
    assert cells.notes[0].endswith("for the same values stand there twice: it is left out"), cells.notes


DROP = "alarms.collapse.max_drop"


@pytest.mark.parametrize("key", ["checkpoints.every_steps", "tracking.trajectories_every", DROP])
def test_a_key_that_no_outcome_depends_on_is_said_once_and_not_run_twice(load: Load, key: str) -> None:
    _, cells = load(grid={COEF: [0, 0.5], key: [1, 2, 3]}, outcome="redi")
    assert [cell.values for cell in cells.cells] == [{COEF: 0, key: 1}, {COEF: 0.5, key: 1}]
    note = ", and 3 more have that of others, for " + key + " changes nothing there: they are left out"
    assert len(cells.notes) == 1 and cells.notes[0].endswith(note), cells.notes


def test_what_an_alarm_that_ends_cells_fires_at_makes_other_cells(load: Load) -> None:
    assert len(load(grid={DROP: [0.1, 0.2]}, stop_on=["collapse"])[1].variants) == 2


def test_a_baseline_is_found_by_its_values(load: Load) -> None:
    grid = {COEF: [0, 0.5], RATE: [1e-5, 1e-4]}
    assert load(grid=grid, outcome="redi", baseline={COEF: 0, RATE: 1e-4})[1].baseline == "negative_coef=0,learning_rate=0.0001"


def test_cells_whose_values_look_alike_have_names_of_their_own(load: Load) -> None:
    long = ["x" * 30 + "a", "x" * 30 + "b"]
    _, cells = load(grid={"tracking.wandb": [{"mode": "offline", "project": one} for one in long]}, seeds=[0])
    assert len(cells.cells) == 1, "nothing that is trained differs"
    _, cells = load(grid={"stages.sft.source.problems.levels": [[1, 2], [1, 3]]}, outcome="sft")
    assert len(set(cells.variants)) == 2


def test_in_wandb_cells_are_grouped_and_tagged(load: Load) -> None:
    wandb = load(set={"tracking.wandb": {"mode": "offline", "tags": ["mine"]}}, seeds=[5])[1].cells[0].recipe.tracking.wandb
    assert wandb is not None and (wandb.group, wandb.tags) == ("tried", ("mine", "recipe", "seed-5"))


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"grid": {"stages.redi.algorithm.negativ_coef": [0]}},
        "cell 'negativ_coef=0-0': stages.redi.algorithm.negativ_coef: is not a known key; did you mean 'negative_coef'?",
    ),
    (
        {"grid": {"stages.red.steps": [0]}},
        "cell 'steps=0-0': stages.red.steps: no member is named 'red'; choose one of sft, redi, grpo",
    ),
    ({"grid": {"stages.redi.steps": ["many"]}}, "cell 'steps=many-0': stages.redi.steps: is 'many'; give a whole number"),
    ({"gird": {}}, "gird: is not a known key; did you mean 'grid'?"),
    ({"recipe": "none.yaml"}, "recipe: there is no file"),
    ({"outcome": "dpo"}, "cell 'recipe-0': outcome: 'dpo' is no stage of the recipe; choose one of sft, redi, grpo"),
    ({"set": {"evaluation": None}}, "measures nothing that could be compared; give it `evaluation`"),
    ({"baseline": "other"}, "baseline: 'other' is no cell; choose one of recipe"),
    ({"baseline": {COEF: 1}}, f"baseline: {COEF}=1 is no cell; choose one of recipe"),
    ({"grid": {COEF: [0, 1], RATE: [1e-5, 1e-4]}, "baseline": {COEF: 1}, "outcome": "redi"}, "fits 2 cells; choose one of"),
    (
        {"budget": {"sampled_tokens": 5}, "outcome": "sft"},
        "stages.sft.max_generated_tokens: never ends a data set stage;",
    ),
    ({"budget": {"flops": 5, "seconds": 1}}, "budget: is given in no amount or in several; give exactly one of"),
    ({"stop_on": ["colapse"]}, "stop_on: 'colapse' is no alarm; choose from not_finite, collapse"),
    ({"seeds": [1, 1]}, "seeds: 1 stands there twice; name each once"),
    (
        {"seeds": [4, 7], "seed_keys": ["stages.grpo.steps"], "outcome": "redi"},
        "seed_keys: stages.grpo.steps change nothing on the way to 'redi' of cell 'recipe': seeds 4 and 7 make one and the same "
        "run; name `seed` there too",
    ),
    (
        {"set": {"cluster": {"name": "ray", "address": "auto"}}},
        "cell 'recipe-0': cluster.address: is 'auto', where the workers of all cells would wait for each other's places; "
        "set it to null",
    ),
    (
        {"set": {"cluster": {"name": "ray", "learner": {"ranks": 2}}}},
        "cell 'recipe-0': cluster: takes 3 CPU cores (learner 2 x 1, engine 1 x 1), and a cell holds 1; set cpus=3 of the sweep",
    ),
    ({"grid": {COEF: []}}, f"grid: {COEF} has no values; give a list of some"),
    ({"random": {"cells": 1, "keys": {RATE: {"log_uniform": [0, 1]}}}}, "log_uniform: 0 has no logarithm; give numbers above 0"),
    (
        {"random": {"cells": 1, "keys": {RATE: {"uniform": [2, 1]}}}},
        "uniform: [2.0, 1.0] is no range; give the smaller number first",
    ),
    ({"random": {"cells": 1, "keys": {RATE: {}}}}, "give exactly one of uniform, log_uniform, choice"),
]


@pytest.mark.parametrize(("keys", "message"), WRONG, ids=[message[-50:] for _, message in WRONG])
def test_what_is_wrong_is_said_before_the_first_cell(load: Load, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        load(**keys)
    assert message in str(refused.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SWEEP: there is no file"):
        read_sweep_file(tmp_path / "none.yaml")


def test_short_keys_are_the_shortest_that_differ() -> None:
    keys = ["stages.sft.learner.learning_rate", "stages.redi.learner.learning_rate", "seed", "student.model.seed"]
    assert list(short_keys(keys).values()) == ["sft.learner.learning_rate", "redi.learner.learning_rate", "seed", "model.seed"]


NAMED = [(1e-5, "1e-05"), (0.8, "0.8"), (3, "3"), (True, "true"), (None, "null"), ("a b/c", "a_b_c"), ("", "empty")]


@pytest.mark.parametrize(("value", "name"), [*NAMED, ([1, 2], "1_2"), ({"name": "dapo"}, "dapo")])
def test_values_are_named_as_people_write_them(value: Any, name: str) -> None:
    assert value_name(value) == name


def test_a_later_layer_wins_where_one_key_holds_another(load: Load) -> None:
    arm = {"name": "arm", "set": {"stages.redi.learner": {"beta2": 0.99}, RATE: 5e-4}}
    _, cells = load(set={RATE: 1e-3}, arms=[arm], outcome="redi")
    assert [cell.recipe.stages[-1].learner.learning_rate for cell in cells.cells] == [5e-4]
    arm["set"] = {"stages.redi.learner": {"beta2": 0.99}}
    _, cells = load(set={RATE: 1e-3}, arms=[arm], grid={RATE: [1e-4, 2e-4]}, outcome="redi")
    assert [cell.recipe.stages[-1].learner.learning_rate for cell in cells.cells] == [1e-4, 2e-4]


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    one, other = ("stages.sft.steps=1," * 20 + end for end in "ab")
    assert len(cut(one)) == LONGEST_NAME and cut(one) != cut(other) and cut("short") == "short"
