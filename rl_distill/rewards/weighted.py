"""Several rewards become one score: the weighted sum, with every part kept beside it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rl_distill.errors import InputError, RunError
from rl_distill.rewards.base import Attempt, GroupReward, Reward, Verifier
from rl_distill.trajectory import Group, Problem, Score, Status, Verdict

_SEVERITY: tuple[Status, ...] = ("unverifiable", "wrong", "correct")


@dataclass(frozen=True, slots=True)
class WeightedRewards:
    """The rewards of a recipe, in its order.

    A score's value is the sum of weight times value. It is None if the answer is unverifiable, whatever the other rewards say,
    and if no reward has a value; otherwise a reward without a value is left out of the sum (TRL's meaning of None).

    With several verifiers those that can judge the problem do: its answer is unverifiable if one cannot tell, else wrong if one
    says so.
    """

    rewards: tuple[Reward, ...]

    def __post_init__(self) -> None:
        if not self.rewards:
            raise InputError("rewards", "is empty", "give at least one, such as {name: accuracy}")
        doubled = [part for part, times in Counter(reward.part for reward in self.rewards).items() if times > 1]
        if doubled:
            raise InputError("rewards", f"has {doubled[0]!r} more than once", "keep one of them and set its weight")
        if all(reward.weight == 0 for reward in self.rewards):
            raise InputError("rewards", "has no weight but 0", "give at least one reward a weight")
        if self.comparing and not any(isinstance(reward, Verifier) for reward in self.rewards):
            problem = f"{self.comparing[0].part!r} compares judged answers, and no reward judges any"
            raise InputError("rewards", problem, "add one that does, such as {name: accuracy}")

    @property
    def comparing(self) -> list[GroupReward]:
        """Those that look at a whole group."""
        return [reward for reward in self.rewards if isinstance(reward, GroupReward)]

    def compared(self, group: Group) -> Group:
        """A scored group with the parts of those rewards that look at all of its attempts."""
        columns = {reward.part: _checked(reward, reward.compare(group), len(group.trajectories)) for reward in self.comparing}
        trajectories = []
        for place, one in enumerate(group.trajectories):
            assert one.score is not None, "the group is scored"
            parts = {**one.score.parts, **{part: column[place] for part, column in columns.items()}}
            score = replace(one.score, parts=parts, value=self._value(parts, one.score.verdict))
            trajectories.append(replace(one, score=score))
        return replace(group, trajectories=tuple(trajectories))

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """The score of each attempt by itself, in order.

        Raises:
            RunError: a reward gave a number that is not finite, or not one value for each attempt.
        """
        verdicts: dict[str, list[Verdict]] = {}
        columns: dict[str, list[float | None]] = {}
        for reward in self.rewards:
            if isinstance(reward, Verifier):
                verdicts[reward.part] = reward.verdicts(attempts)
                columns[reward.part] = [reward.value(verdict) for verdict in verdicts[reward.part]]
            else:
                columns[reward.part] = _checked(reward, reward.measure(attempts), len(attempts))
        scores = []
        for place, (problem, _) in enumerate(attempts):
            parts = {part: column[place] for part, column in columns.items()}
            verdict = self._verdict(problem, {part: column[place] for part, column in verdicts.items()})
            scores.append(Score(value=self._value(parts, verdict), verdict=verdict, parts=parts))
        return scores

    def _verdict(self, problem: Problem, verdicts: Mapping[str, Verdict]) -> Verdict | None:
        """The one that stands for all; where nobody can judge, the first says why. None without a verifier."""
        verifiers = [reward for reward in self.rewards if isinstance(reward, Verifier)]
        judges = [reward for reward in verifiers if reward.can_judge(problem)] or verifiers[:1]
        found = [verdicts[reward.part] for reward in judges]
        return min(found, key=lambda verdict: _SEVERITY.index(verdict.status), default=None)

    def _value(self, parts: dict[str, float | None], verdict: Verdict | None) -> float | None:
        if verdict is not None and verdict.status == "unverifiable":
            return None
        values = [(reward.weight, parts[reward.part]) for reward in self.rewards]
        present = [weight * value for weight, value in values if value is not None]
        return sum(present) if present else None


def score_groups(groups: Sequence[Group], rewards: WeightedRewards) -> list[Group]:
    """The same groups with every trajectory scored; all are graded together, so that graders work in parallel."""
    scores = iter(rewards.score([(group.problem, trajectory) for group in groups for trajectory in group.trajectories]))
    scored = [
        replace(group, trajectories=tuple(replace(trajectory, score=next(scores)) for trajectory in group.trajectories))
        for group in groups
    ]
    return [rewards.compared(group) for group in scored] if rewards.comparing else scored


def wrong_answers_cost_nothing(rewards: Sequence[Reward]) -> bool:
    """Whether a wrong answer is never worth less than 0, so that without a baseline nothing would make it less likely.

    Where answers are judged, what punishes length or repetition does not count: it makes no answer wrong. False where a reward
    has a negative weight, or a range that only running it tells.
    """
    weighed = [reward for reward in rewards if reward.weight]
    if any(reward.weight < 0 or reward.lowest is None for reward in weighed):
        return False
    judging = [reward for reward in weighed if isinstance(reward, Verifier)] or weighed
    return all(reward.lowest is not None and reward.lowest >= 0 for reward in judging)


def _checked(reward: Reward, values: list[float | None], num_attempts: int) -> list[float | None]:
    if len(values) != num_attempts:
        raise RunError(f"reward {reward.part!r} gave {len(values)} values for {num_attempts} attempts")
    for value in values:
        if value is not None and not math.isfinite(value):
            raise RunError(f"reward {reward.part!r} gave {value}; a reward is a finite number, or None where there is none")
    return values
