"""A sweep's folder in a notebook: what its files say, as frames."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import write_recipe

import rl_distill
from rl_distill.errors import InputError
from rl_distill.recipe import load_recipe
from rl_distill.sweeps.sweep_table import SCHEMA
from rl_distill.training.run_folder import RunFolder

COSTS = {"sampled_tokens": 10.0, "teacher_tokens": None}
ROWS: list[dict[str, Any]] = [
    {"variant": "base", "seeds": [0], "accuracy": 0.5, "low": None, "costs": COSTS, "remarks": []},
    {"variant": "higher rate", "seeds": [0], "accuracy": 0.6, "low": 0.5, "costs": COSTS, "remarks": ["seed 1 failed"]},
]
CELLS: list[dict[str, Any]] = [
    {"name": "base-0", "variant": "base", "seed": 0, "values": {"lr": 1}, "run": "cells/base-0", "costs": COSTS, "accuracy": 0.5},
    {"name": "higher-0", "variant": "higher rate", "seed": 0, "values": {"lr": 2}, "run": "cells/higher-0", "costs": None},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = {"schema": SCHEMA, "name": "rates", "baseline": "base", "rows": ROWS, "cells": CELLS, "left_out": {}}
    (tmp_path / "sweep.json").write_text(json.dumps(data))
    (tmp_path / "table.md").write_text("| cell |\n| ---- |\n")
    return tmp_path


def test_its_table_and_cells_are_frames_with_costs_and_values_as_columns(folder: Path) -> None:
    sweep = rl_distill.load_sweep(folder)
    assert sweep.name == "rates" and sweep.baseline == "base"
    assert list(sweep.table.index) == ["base", "higher rate"]
    assert sweep.table.loc["higher rate", "accuracy"] == 0.6 and sweep.table["teacher_tokens"].isna().all()
    assert list(sweep.cells["lr"]) == [1, 2] and sweep.cells["sampled_tokens"].isna().tolist() == [False, True]
    assert sweep._repr_markdown_() == "**rates**\n\n| cell |\n| ---- |\n"


def test_a_cell_gives_its_run(folder: Path) -> None:
    recipe = load_recipe(write_recipe(folder, run_dir=str(folder / "cells" / "base-0")).path)
    RunFolder(recipe).close()
    sweep = rl_distill.load_sweep(folder)
    assert sweep.run("base-0").recipe.stages[0].name == "sft"
    with pytest.raises(InputError, match="cell: 'base-1' is none of .* give base-0"):
        sweep.run("base-1")
    with pytest.raises(InputError, match="holds no run"):
        sweep.run("higher-0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "holds no table of a sweep"),
        ("{", "is damaged"),
        ("[]", "is of version None"),
        ('{"schema": "rl_distill.sweep/0"}', "is of version 'rl_distill.sweep/0'"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(InputError, match=f"SWEEP: .*{said}.*give"):
        rl_distill.load_sweep(tmp_path)


def test_a_sweep_is_run_from_a_path_as_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SWEEP: there is no file"):
        rl_distill.run_sweep(str(tmp_path / "none.yaml"))
