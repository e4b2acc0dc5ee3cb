"""Which attempts of a batch an algorithm reads, and why it cannot read it."""

from collections.abc import Sequence
from dataclasses import replace

from rl_distill.algorithms.base import ROLLOUT_NEEDS, Algorithm
from rl_distill.trajectory import Group, Trajectory

PLACE = "gradients_place"  # key of an attempt's metadata: which group, and which attempt of it


def placed(groups: Sequence[Group]) -> list[Group]:
    """The same attempts, which remember where they stand whatever is written beside them."""
    return [
        replace(
            group,
            trajectories=tuple(
                replace(attempt, metadata={**attempt.metadata, PLACE: (number, place)})
                for place, attempt in enumerate(group.trajectories)
            ),
        )
        for number, group in enumerate(groups)
    ]


def read_by(algorithm: Algorithm, groups: Sequence[Group]) -> list[Group]:
    """What a source would hand to the algorithm: the student's own attempts to one that needs rollouts, all to the others."""
    if not algorithm.needs & ROLLOUT_NEEDS or algorithm.needs_dialogues:
        return list(groups)
    own = [replace(group, trajectories=tuple(filter(_was_sampled, group.trajectories))) for group in groups]
    return [group for group in own if group.trajectories]


def refusal(algorithm: Algorithm, groups: Sequence[Group]) -> str | None:
    """Why the algorithm cannot read these groups, in words; None if it can."""
    attempts = [attempt for group in groups for attempt in group.trajectories]
    if algorithm.needs & ROLLOUT_NEEDS and not any(map(_was_sampled, attempts)):
        return "needs attempts that the student sampled itself, with their log-probs, and there are none"
    if algorithm.needs_dialogues and not any(attempt.dialogue is not None for attempt in attempts):
        return "needs dialogues that end in the problem, and there are none"
    lacking = sorted(algorithm.contexts - {attempt.context for attempt in attempts})
    if lacking:
        return f"compares answers in other contexts, and there are none in {', '.join(lacking)}"
    largest = max((len(group.trajectories) for group in read_by(algorithm, groups)), default=0)
    if largest < algorithm.min_group_size:
        return f"needs {algorithm.min_group_size} attempts at one problem, and there are {largest} at most"
    return None


def _was_sampled(attempt: Trajectory) -> bool:
    return attempt.origin == "policy" and attempt.behavior_logprobs is not None
