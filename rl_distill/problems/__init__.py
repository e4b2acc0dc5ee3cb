"""Where problems come from: one file for each set, and the table that a recipe's `name` picks from.

A set gives groups (`base.ProblemSet`): problems alone, or problems with a teacher's attempts at them as text.
"""

from typing import TYPE_CHECKING

from rl_distill.config import one_of
from rl_distill.problems.aime import Aime
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.problems.base import ProblemSet
from rl_distill.problems.code_contests import CodeContests
from rl_distill.problems.competition_math import Math
from rl_distill.problems.gpqa import Gpqa
from rl_distill.problems.graded_samples import GradedSamples
from rl_distill.problems.gsm8k import Gsm8k, Gsm8kSolutions
from rl_distill.problems.jsonl import Jsonl
from rl_distill.problems.numina_math import NuminaMath
from rl_distill.problems.openr1_math import OpenR1Math
from rl_distill.problems.probe_questions import ProbeQuestions
from rl_distill.problems.recorded import Records
from rl_distill.problems.table import Table
from rl_distill.problems.trl_rows import TrlRows

PROBLEM_SETS: dict[str, type[ProblemSet]] = {
    "arithmetic": Arithmetic,
    "gsm8k": Gsm8k,
    "gsm8k_solutions": Gsm8kSolutions,
    "math": Math,
    "graded_samples": GradedSamples,
    "numina_math": NuminaMath,
    "code_contests": CodeContests,
    "aime": Aime,
    "openr1_math": OpenR1Math,
    "gpqa": Gpqa,
    "table": Table,
    "jsonl": Jsonl,
    "trl": TrlRows,
    "records": Records,
    "probe_questions": ProbeQuestions,
}

# The type of a recipe key that picks from the table.
if TYPE_CHECKING:
    AnyProblemSet = ProblemSet
else:
    AnyProblemSet = one_of(PROBLEM_SETS)
