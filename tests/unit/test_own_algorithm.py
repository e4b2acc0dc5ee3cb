"""A recipe names an algorithm of one's own by its import path."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from rl_distill.algorithms.sft import Sft
from rl_distill.config import config, dump, parse, setting
from rl_distill.errors import InputError
from rl_distill.recipe import Recipe, load_recipe

SFT = Path(__file__).parents[2] / "experiments" / "debug" / "sft.yaml"
NAME = f"{__name__}:Softer"


@config
class Softer(Sft):
    name: Literal[f"{__name__}:Softer"] = NAME  # type: ignore[valid-type,assignment]
    strength: float = setting(0.5, about="0 is plain SFT", ge=0, le=1)


@config
class Misnamed(Sft):
    """Keeps the name of the algorithm that it changes."""


def recipe_with(algorithm: str) -> Recipe:
    return load_recipe(SFT, [f"stages.sft.algorithm={algorithm}"])


def test_it_is_read_checked_and_written_like_one_of_the_package() -> None:
    recipe = recipe_with(f"{{name: '{NAME}', strength: 0.25}}")
    assert recipe.stages[0].algorithm == Softer(strength=0.25)
    assert parse(Recipe, dump(recipe)) == recipe


def test_a_value_made_in_python_is_taken_as_it_is() -> None:
    recipe = recipe_with("{name: sft}")
    changed = replace(recipe, stages=(replace(recipe.stages[0], algorithm=Softer(strength=1)), *recipe.stages[1:]))
    assert parse(Recipe, dump(changed)).stages[0].algorithm == Softer(strength=1)


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (f"{{name: '{NAME}', strength: 2}}", "stages.sft.algorithm: strength is 2; give a number not above 1"),
        (f"{{name: '{NAME}', strenth: 1}}", "strenth is not a known key; did you mean 'strength'?"),
        ("{name: 'no_such_module:Softer'}", "cannot be imported .*; put its folder on PYTHONPATH"),
        (f"{{name: '{__name__}:Nobody'}}", "stages.sft.algorithm.name: .* cannot be imported"),
        ("{name: 'os:getcwd'}", "is no Algorithm; derive it from"),
        (f"{{name: '{__name__}:Misnamed'}}", "is not what the class calls itself"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_a_line(algorithm: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe_with(algorithm)
