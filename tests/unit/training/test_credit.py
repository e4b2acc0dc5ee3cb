"""What the record says of an attempt's credit is what it is trained with."""

from typing import Any

from dialogue_groups import answer, dialogue_group, lesson

from rl_distill.algorithms.exgrpo import Exgrpo
from rl_distill.learning.loss_term import LossTerm
from rl_distill.training.loop import Credit, credited


def credit_of(**settings: Any) -> Credit:
    """Of two dialogues, one right, with what stands beside them."""
    group = dialogue_group([True, False], answer("blanked", 0, False, control=True), lesson())
    unused: Any = None
    term = LossTerm(algorithm=Exgrpo(kl_coef=0, **settings))
    return credited(term, [group], reference=None, teacher=None, learner=unused, mini_batches=1)


def test_controls_and_lessons_have_no_advantage() -> None:
    credit = credit_of(coherence="none")
    assert [sample.lesson for sample in credit.samples] == [False, False, True]
    first, second, control, imitated = credit.advantages[0]
    assert first is not None and second is not None and first > 0 > second
    assert (control, imitated) == (None, None)


def test_an_advantage_is_the_one_that_the_whole_step_gave() -> None:
    credit, plain = (credit_of(coherence="none", lesson_coef=0, whitening=name) for name in ("token", "none"))
    assert credit.advantages[0][:2] == [sample.advantage for sample in credit.samples]
    assert credit.advantages[0][:2] != plain.advantages[0][:2]
