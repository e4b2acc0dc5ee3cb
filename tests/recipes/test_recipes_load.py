"""Every recipe is valid, says how it is run, and has a name of its own."""

from collections import Counter
from pathlib import Path

import pytest

from rl_distill.curation.recipe import load_curation
from rl_distill.recipe import load_recipe

REPOSITORY = Path(__file__).resolve().parents[2]
FOUND = sorted(path for path in (REPOSITORY / "experiments").rglob("*.yaml") if "sweeps" not in path.parts)
CURATIONS = [path for path in FOUND if "# run: rl-distill curate" in path.read_text(encoding="utf-8")]
RECIPES = [path for path in FOUND if path not in CURATIONS]


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_the_recipe_loads_strictly_and_its_header_names_its_command(path: Path) -> None:
    load_recipe(path)
    assert f"# run: rl-distill train {path.relative_to(REPOSITORY).as_posix()}" in header(path)


@pytest.mark.parametrize("path", CURATIONS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_the_curation_loads_strictly_and_its_header_names_its_command(path: Path) -> None:
    load_curation(path)
    assert f"# run: rl-distill curate {path.relative_to(REPOSITORY).as_posix()}" in header(path)


def header(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]


def test_no_two_recipes_share_a_run_folder() -> None:
    folders = Counter(load_recipe(path).folder for path in RECIPES)
    assert not [folder for folder, times in folders.items() if times > 1]
