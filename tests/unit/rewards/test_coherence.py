"""The coherence reward beside accuracy: any algorithm can be paid by it."""

from dataclasses import replace

import pytest
from dialogue_groups import answer, dialogue_group

from rl_distill.errors import InputError
from rl_distill.rewards import Accuracy, WeightedRewards, score_groups
from rl_distill.rewards.coherence import Coherence
from rl_distill.rewards.format import Format
from rl_distill.trajectory import Group, Message


def unscored(group: Group, texts: list[str]) -> Group:
    """The group as it comes from an engine, its attempts saying these texts."""

    attempts = [
        replace(one, score=None, messages=(*one.messages[:-1], Message("assistant", text)))
        for one, text in zip(group.trajectories, texts, strict=True)
    ]
    return replace(group, trajectories=tuple(attempts))


RIGHT, WRONG = r"\boxed{3}", r"\boxed{4}"


def test_a_correct_answer_is_paid_for_its_dialogue_and_nothing_else_is():
    shape = dialogue_group((1, 1, 0), *(answer("blanked", place, 0, control=True) for place in range(3)))
    group = unscored(shape, [RIGHT, RIGHT, WRONG, RIGHT, WRONG, WRONG])
    [scored] = score_groups([group], WeightedRewards((Accuracy(), Coherence(weight=0.5))))
    assert [one.reward for one in scored.trajectories[:3]] == pytest.approx([1 + 0.5 * (1 - 1 / 3)] * 2 + [0.0])
    assert [one.reward for one in scored.trajectories[3:]] == [1.0, 0.0, 0.0]
    assert [one.score.parts["coherence"] for one in scored.trajectories] == pytest.approx([2 / 3, 2 / 3, 0.0, None, None, None])


def test_an_answer_that_nobody_can_judge_has_no_reward_with_coherence_either():
    group = unscored(dialogue_group((1, 1)), [RIGHT, RIGHT])

    ungraded = replace(group, problem=replace(group.problem, answer=None))
    [scored] = score_groups([ungraded], WeightedRewards((Accuracy(), Coherence())))
    assert [one.reward for one in scored.trajectories] == [None, None]


def test_attempts_outside_dialogues_have_no_such_part():
    group = unscored(Group(problem=dialogue_group(()).problem, trajectories=(answer("direct", 0, 1),)), [RIGHT])
    [scored] = score_groups([group], WeightedRewards((Accuracy(), Coherence())))
    assert scored.trajectories[0].reward == 1.0 and scored.trajectories[0].score.parts["coherence"] is None


def test_it_needs_a_reward_that_judges_answers():
    with pytest.raises(InputError, match="no reward judges any"):
        WeightedRewards((Coherence(), Format()))


@pytest.mark.parametrize("fields", [{"nu": 1.5}, {"measure_by": "gain", "nu": 1.5}, {"measure_by": "paper_gate", "margin": 0.1}])
def test_a_key_that_its_measure_does_not_read_is_refused(fields):
    with pytest.raises(ValueError, match="has no effect unless measure_by"):
        Coherence(**fields)
