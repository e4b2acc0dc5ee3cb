"""The interchangeable algorithms. To add one: a file with a `@config` class, a line here, a recipe in `experiments/debug/`.

One of a user's own needs no line: a recipe names it `module:Class`.
"""

from typing import TYPE_CHECKING

from rl_distill.algorithms.base import Algorithm
from rl_distill.algorithms.dpo import Dpo
from rl_distill.algorithms.exgrpo import Exgrpo
from rl_distill.algorithms.gkd import Gkd
from rl_distill.algorithms.grpo import Cispo, Dapo, DrGrpo, Grpo, Gspo, Rloo
from rl_distill.algorithms.kd import Kd
from rl_distill.algorithms.opd import Opd
from rl_distill.algorithms.redi import Redi
from rl_distill.algorithms.sft import Sft
from rl_distill.algorithms.simpo import Simpo
from rl_distill.config import one_of

ALGORITHMS: dict[str, type[Algorithm]] = {
    "sft": Sft,
    "redi": Redi,
    "dpo": Dpo,
    "simpo": Simpo,
    "grpo": Grpo,
    "dr_grpo": DrGrpo,
    "dapo": Dapo,
    "gspo": Gspo,
    "rloo": Rloo,
    "cispo": Cispo,
    "exgrpo": Exgrpo,
    "kd": Kd,
    "gkd": Gkd,
    "opd": Opd,
}

# The type of a recipe key that picks from the table.
if TYPE_CHECKING:
    AnyAlgorithm = Algorithm
else:
    AnyAlgorithm = one_of(ALGORITHMS, own=Algorithm)
