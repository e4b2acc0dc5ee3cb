"""What a pool is cut down to. `OPERATIONS` is the table that a recipe's list of selections picks from by `name`."""

from typing import TYPE_CHECKING

from rl_distill.config import one_of
from rl_distill.curation.answer_leak import AnswerLeak
from rl_distill.curation.attempt_selection import Language, LengthQuantile, RepeatedNgrams
from rl_distill.curation.operation import Operation
from rl_distill.curation.problem_selection import CapPerSource, Difficulty, OnePerCluster, PassRate, Sample

OPERATIONS: dict[str, type[Operation]] = {
    "pass_rate": PassRate,
    "difficulty": Difficulty,
    "length_quantile": LengthQuantile,
    "repetition": RepeatedNgrams,
    "language": Language,
    "answer_leak": AnswerLeak,
    "one_per_cluster": OnePerCluster,
    "cap_per_source": CapPerSource,
    "sample": Sample,
}

# The type of a recipe key that picks from the table.
if TYPE_CHECKING:
    AnyOperation = Operation
else:
    AnyOperation = one_of(OPERATIONS)
