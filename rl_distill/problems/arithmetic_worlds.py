"""Two worlds of one arithmetic: what a pretrained student has wrong in each, and how its teacher works.

habits: the student knows the single steps and merges two of them by habit, which mostly fails; the teacher does so too. What
fails is a choice of manner, which no question about facts touches: the null case for probes.

rules: the student goes step by step and knows no carrying and no borrowing (7 + 5 = 2, 12 - 5 = 17): 88 of its 232 single steps
are wrong, always, and it sees no reason for them in its explanations either. The teacher is right but for slips. What fails is
what probes ask about, and a few problems show only some of the steps.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from rl_distill.problems.arithmetic_inversion import INVERSIONS
from rl_distill.problems.arithmetic_probes import PROBES, Maker
from rl_distill.problems.arithmetic_rephrasing import REPHRASINGS
from rl_distill.problems.arithmetic_teacher import CORPUS_HABITS, TEACHER_HABITS, Habits

WorldName = Literal["habits", "rules"]


class World(NamedTuple):
    """
    corpus, teacher     how the texts of pretraining, and the teacher's, are made
    corpus_probes       the questions of pretraining
    max_corpus_probes   that come before a problem in one conversation of pretraining
    """

    corpus: Habits
    teacher: Habits
    corpus_probes: Mapping[str, Maker]
    max_corpus_probes: int


WORLDS: dict[WorldName, World] = {
    "habits": World(CORPUS_HABITS, TEACHER_HABITS, PROBES, 2),
    "rules": World(
        corpus=Habits(merge=0, merge_error=0, hard_error=1, easy_error=0.01, miscopy=0.01, truncate=0.01, direct=0),
        teacher=TEACHER_HABITS._replace(merge=0, merge_error=0),
        corpus_probes={**INVERSIONS, **REPHRASINGS},  # either kind of question is as well known as the other
        max_corpus_probes=4,
    ),
}
