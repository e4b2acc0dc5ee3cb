"""Rewards measure, algorithms credit. `REWARDS` is the table a recipe's `rewards:` picks from by `name`.

`VERIFIERS` are those of them that judge answers, which an evaluation picks from.
"""

from typing import TYPE_CHECKING

from rl_distill.config import one_of
from rl_distill.rewards.accuracy import Accuracy
from rl_distill.rewards.base import Attempt, GroupReward, Reward, Verifier
from rl_distill.rewards.coherence import Coherence
from rl_distill.rewards.format import Format
from rl_distill.rewards.length import SoftOverlong
from rl_distill.rewards.multiple_choice import MultipleChoice
from rl_distill.rewards.repetition import Repetition
from rl_distill.rewards.trl_function import TrlFunction
from rl_distill.rewards.unit_tests import UnitTests
from rl_distill.rewards.weighted import WeightedRewards, score_groups, wrong_answers_cost_nothing

VERIFIERS: dict[str, type[Verifier]] = {"accuracy": Accuracy, "multiple_choice": MultipleChoice, "unit_tests": UnitTests}
REWARDS: dict[str, type[Reward]] = {
    **VERIFIERS,
    "format": Format,
    "soft_overlong": SoftOverlong,
    "repetition": Repetition,
    "coherence": Coherence,
    "trl_function": TrlFunction,
}

# The types of recipe keys that pick from the tables.
if TYPE_CHECKING:
    AnyReward = Reward
    AnyVerifier = Verifier
else:
    AnyReward = one_of(REWARDS)
    AnyVerifier = one_of(VERIFIERS)

__all__ = [
    "REWARDS",
    "VERIFIERS",
    "AnyReward",
    "AnyVerifier",
    "Accuracy",
    "Attempt",
    "Coherence",
    "GroupReward",
    "MultipleChoice",
    "Reward",
    "UnitTests",
    "Verifier",
    "WeightedRewards",
    "score_groups",
    "wrong_answers_cost_nothing",
]
