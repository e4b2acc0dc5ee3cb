"""Which attempts of a group an algorithm learns from. A control is none of them: it was sampled to be compared with."""

from typing import Literal

from rl_distill.trajectory import Group, Trajectory

Traces = Literal["first_correct", "correct", "all"]


def trained(group: Group) -> list[Trajectory]:
    return [trajectory for trajectory in group.trajectories if not trajectory.control]


def correct(group: Group) -> list[Trajectory]:
    return [trajectory for trajectory in trained(group) if trajectory.status == "correct"]


def wrong(group: Group) -> list[Trajectory]:
    """Attempts known to be wrong; an unverifiable one is not among them."""
    return [trajectory for trajectory in trained(group) if trajectory.status == "wrong"]


def traces(group: Group, which: Traces) -> list[Trajectory]:
    """The attempts of a group that are imitated."""
    chosen = trained(group) if which == "all" else correct(group)
    return chosen[:1] if which == "first_correct" else chosen


def contrast(group: Group) -> tuple[Trajectory, Trajectory] | None:
    """The first correct and the first wrong attempt, as REDI's data construction pairs them; None without either."""
    chosen, rejected = correct(group), wrong(group)
    return (chosen[0], rejected[0]) if chosen and rejected else None


def rewarded(group: Group) -> list[Trajectory]:
    """Attempts that have a reward. One that could not be verified enters no baseline."""
    return [trajectory for trajectory in trained(group) if trajectory.reward is not None]
