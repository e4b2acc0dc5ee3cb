"""Which attempts of a group an algorithm looks at."""

from typing import Literal

from rl_distill.trajectory import Group, Trajectory

Traces = Literal["first_correct", "correct", "all"]


def correct(group: Group) -> list[Trajectory]:
    return [trajectory for trajectory in group.trajectories if trajectory.status == "correct"]


def wrong(group: Group) -> list[Trajectory]:
    """Attempts known to be wrong; an unverifiable one is not among them."""
    return [trajectory for trajectory in group.trajectories if trajectory.status == "wrong"]


def traces(group: Group, which: Traces) -> list[Trajectory]:
    """The attempts of a group that are imitated."""
    chosen = list(group.trajectories) if which == "all" else correct(group)
    return chosen[:1] if which == "first_correct" else chosen


def contrast(group: Group) -> tuple[Trajectory, Trajectory] | None:
    """The first correct and the first wrong attempt, as REDI's data construction pairs them; None without either."""
    chosen, rejected = correct(group), wrong(group)
    return (chosen[0], rejected[0]) if chosen and rejected else None


def rewarded(group: Group) -> list[Trajectory]:
    """Attempts that have a reward. One that could not be verified enters no baseline."""
    return [trajectory for trajectory in group.trajectories if trajectory.reward is not None]
