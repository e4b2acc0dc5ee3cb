"""Rewards measure, algorithms credit. `REWARDS` is the table a recipe's `rewards:` picks from by `name`."""

from rl_distill.rewards.accuracy import Accuracy
from rl_distill.rewards.base import Attempt, Reward
from rl_distill.rewards.format import Format
from rl_distill.rewards.length import SoftOverlong
from rl_distill.rewards.repetition import Repetition
from rl_distill.rewards.trl_function import TrlFunction
from rl_distill.rewards.weighted import WeightedRewards, score_groups

REWARDS: dict[str, type[Reward]] = {
    "accuracy": Accuracy,
    "format": Format,
    "soft_overlong": SoftOverlong,
    "repetition": Repetition,
    "trl_function": TrlFunction,
}

__all__ = ["REWARDS", "Accuracy", "Attempt", "Reward", "WeightedRewards", "score_groups"]
