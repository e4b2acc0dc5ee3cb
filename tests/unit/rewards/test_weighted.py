"""The weighted sum: parts kept, no reward invented, nothing doubled."""

from collections.abc import Callable, Sequence

import pytest

from rl_distill.config import config, setting
from rl_distill.errors import InputError, RunError
from rl_distill.rewards import Accuracy, WeightedRewards, score_groups, wrong_answers_cost_nothing
from rl_distill.rewards.base import Attempt, Reward
from rl_distill.rewards.format import Format
from rl_distill.rewards.length import SoftOverlong
from rl_distill.rewards.repetition import Repetition
from rl_distill.trajectory import Group


@config
class Fixed(Reward):
    """Gives everyone the same."""

    name: str = "fixed"
    value: float | None = setting(None, about="what everyone gets", allow_inf_nan=True)
    copies: int = setting(1, about="values for each attempt")

    def measure(self, attempts: Sequence[Attempt]) -> list[float | None]:
        return [self.value] * len(attempts) * self.copies


BOTH = r"<think>x</think> \boxed{4}"


def test_value_is_the_weighted_sum_and_parts_are_unweighted(attempt: Callable[..., Attempt]) -> None:
    rewards = WeightedRewards((Accuracy(weight=2.0), Format(weight=0.5), Repetition(ngram_words=1, weight=0.0)))
    right, badly_formed, wrong = rewards.score(
        [attempt(BOTH), attempt(r"\boxed{4} \boxed{4}"), attempt(r"<think>x</think> \boxed{5}")]
    )
    assert (right.value, badly_formed.value, wrong.value) == (2.5, 2.0, 0.5)
    assert badly_formed.parts == {"accuracy": 1.0, "format": 0.0, "repetition": -0.5}
    assert wrong.verdict is not None
    assert wrong.verdict.status == "wrong"


def test_unverifiable_answer_has_no_value_whatever_the_other_rewards_say(attempt: Callable[..., Attempt]) -> None:
    for accuracy_weight in (1.0, 0.0):
        rewards = WeightedRewards((Format(), Accuracy(weight=accuracy_weight)))
        [score] = rewards.score([attempt(BOTH, answer=None)])
        assert score.value is None
        assert score.parts == {"format": 1.0, "accuracy": None}
        assert score.verdict is not None
        assert score.verdict.method == "no_gold"


def test_reward_that_does_not_apply_is_left_out_and_no_reward_at_all_is_none(attempt: Callable[..., Attempt]) -> None:
    [with_format] = WeightedRewards((Fixed(), Format(weight=0.5))).score([attempt(BOTH)])
    [alone] = WeightedRewards((Fixed(),)).score([attempt(BOTH)])
    assert (with_format.value, with_format.parts) == (0.5, {"fixed": None, "format": 1.0})
    assert (alone.value, alone.verdict) == (None, None)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_number_that_is_not_finite_is_an_error_that_names_the_reward(bad: float, attempt: Callable[..., Attempt]) -> None:
    with pytest.raises(RunError, match=f"reward 'fixed' gave {bad}"):
        WeightedRewards((Fixed(value=bad),)).score([attempt(BOTH)])


def test_wrong_number_of_values_is_an_error_that_names_the_reward(attempt: Callable[..., Attempt]) -> None:
    with pytest.raises(RunError, match="reward 'fixed' gave 2 values for 1 attempts"):
        WeightedRewards((Fixed(value=1.0, copies=2),)).score([attempt(BOTH)])


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ((), "is empty"),
        ((Accuracy(), Accuracy(wrong=-1.0)), "'accuracy' more than once"),
        ((Accuracy(weight=0.0),), "no weight but 0"),
    ],
)
def test_rewards_that_make_no_sense_are_refused(rewards: tuple[Reward, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WeightedRewards(rewards)


def test_groups_keep_their_shape_and_only_gain_scores(attempt: Callable[..., Attempt]) -> None:
    problem, right = attempt(BOTH)
    _, wrong = attempt(r"\boxed{5}")
    groups = [
        Group(problem=problem, trajectories=(right, wrong)),
        Group(problem=problem),
        Group(problem=problem, trajectories=(wrong,)),
    ]
    scored = score_groups(groups, WeightedRewards((Accuracy(),)))
    assert [[trajectory.reward for trajectory in group.trajectories] for group in scored] == [[1.0, 0.0], [], [0.0]]
    assert [trajectory.messages for trajectory in scored[0].trajectories] == [right.messages, wrong.messages]
    assert groups[0].trajectories[0].score is None
    assert score_groups([], WeightedRewards((Accuracy(),))) == []


@pytest.mark.parametrize(
    ("rewards", "nothing"),
    [
        ((Accuracy(),), True),
        ((Accuracy(wrong=-1.0),), False),
        ((Accuracy(correct=2.0, wrong=1.0),), True),
        ((Accuracy(), Format(weight=0.5)), True),
        ((Accuracy(), SoftOverlong()), True),  # a short wrong answer costs nothing
        ((Accuracy(wrong=-1.0), Format()), False),
        ((Accuracy(weight=0.0), Format()), True),
        ((Accuracy(weight=0.0), SoftOverlong()), False),
        ((Format(), Repetition()), False),
        ((Format(weight=-1.0),), False),
        ((Accuracy(), Fixed(value=-1.0)), False),  # what a function gives only running it tells
        ((Accuracy(), Fixed(value=-1.0, weight=0.0)), True),
    ],
)
def test_whether_a_wrong_answer_can_be_worth_less_than_zero(rewards: tuple[Reward, ...], nothing: bool) -> None:
    assert wrong_answers_cost_nothing(rewards) is nothing
