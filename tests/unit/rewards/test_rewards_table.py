"""The table that recipes pick from: names, keys, pickling, and what importing it costs."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from rl_distill.config import config, dump, one_of, parse, setting
from rl_distill.errors import InputError
from rl_distill.rewards import REWARDS, Accuracy, Reward
from rl_distill.rewards.format import Format

REQUIRED = {"trl_function": {"function": "json:dumps"}}


@config
class Recipe:
    """As a recipe holds rewards."""

    rewards: tuple[one_of(REWARDS), ...] = setting(about="rewards")  # type: ignore[valid-type]


def test_recipe_lists_rewards_by_name_with_their_weights() -> None:
    tree = {"rewards": [{"name": "accuracy", "weight": 1.0}, {"name": "format", "weight": 0.1}]}
    assert parse(Recipe, tree).rewards == (Accuracy(weight=1.0), Format(weight=0.1))


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ({"name": "acuracy"}, "did you mean 'accuracy'"),
        ({"name": "accuracy", "wieght": 1.0}, "did you mean 'weight'"),
        ({"name": "trl_function"}, "function: is missing"),
        ({"name": "trl_function", "function": "no_such_package:f"}, "cannot be imported"),
        ({"name": "accuracy", "deadline": 0}, "deadline"),
        ({"name": "unit_tests", "isolation": "none"}, "isolation"),
        ({"name": "unit_tests", "memory": 1}, "memory"),
        ({"name": "format", "think": "any", "boxed": False}, "demands nothing"),
    ],
)
def test_mistakes_in_a_recipe_are_input_errors(reward: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(Recipe, {"rewards": [reward]})


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_is_a_value(name: str) -> None:
    reward = REWARDS[name](**REQUIRED.get(name, {}))
    assert isinstance(reward, Reward)
    assert reward.name == name
    assert pickle.loads(pickle.dumps(reward)) == reward
    assert parse(type(reward), dump(reward)) == reward
    assert reward.measure([]) == []


def test_importing_rewards_loads_no_heavy_library() -> None:
    program = "import sys, rl_distill.rewards; print(*{name.partition('.')[0] for name in sys.modules})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert not {"torch", "sympy", "math_verify", "latex2sympy2_extended", "trl", "transformers"} & set(done.stdout.split())
