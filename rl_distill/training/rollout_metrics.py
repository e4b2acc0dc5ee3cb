"""Metrics of a step's attempts: what they look like, and how old the weights were that they were sampled with."""

from collections import Counter
from collections.abc import Sequence

from rl_distill.trajectory import Group, Trajectory


def rollout_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """What a step's attempts look like, also those that nothing is learnt from; controls, and what a teacher says, are none."""
    by_group = [[t for t in group.trajectories if not t.control and t.origin == "policy"] for group in groups]
    attempts = [trajectory for members in by_group for trajectory in members]
    metrics = {"group/count": float(len(groups))}
    if not attempts:
        return metrics
    rewards = [reward for trajectory in attempts if (reward := trajectory.reward) is not None]
    values = [[t.reward for t in members if t.reward is not None] for members in by_group]
    flat = [len(set(found)) == 1 for found in values if len(found) > 1]  # one reward alone is neither flat nor not
    metrics |= {
        "rollout/response_tokens": sum(len(trajectory.response_ids) for trajectory in attempts) / len(attempts),
        "rollout/truncated_fraction": sum(trajectory.finish_reason == "length" for trajectory in attempts) / len(attempts),
        "rollout/unverifiable": float(sum(trajectory.status == "unverifiable" for trajectory in attempts)),
    }
    if flat:
        metrics["group/zero_variance_fraction"] = sum(flat) / len(flat)
    if (correct := correct_fraction(attempts)) is not None:
        metrics["rollout/correct_fraction"] = correct
    if rewards:
        mean = sum(rewards) / len(rewards)
        metrics["reward/mean"] = mean
        metrics["reward/std"] = (sum((reward - mean) ** 2 for reward in rewards) / len(rewards)) ** 0.5
    return metrics | _part_means(attempts)


def context_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """How often the student is right by what precedes the problem, controls included."""
    attempts = [t for group in groups for t in group.trajectories if t.origin == "policy"]
    by_context = {context: [t for t in attempts if t.context == context] for context in sorted({t.context for t in attempts})}
    found = {context: correct_fraction(members) for context, members in by_context.items()}
    return {f"rollout/correct_fraction/{context}": value for context, value in found.items() if value is not None}


def correct_fraction(attempts: Sequence[Trajectory]) -> float | None:
    """Of those that could be judged; None if none could."""
    judged = [attempt.status == "correct" for attempt in attempts if attempt.status in ("correct", "wrong")]
    return sum(judged) / len(judged) if judged else None


def _part_means(attempts: Sequence[Trajectory]) -> dict[str, float]:
    """Mean of each part of the rewards."""
    means = {}
    for name in sorted({name for trajectory in attempts if trajectory.score for name in trajectory.score.parts}):
        values = [part for t in attempts if t.score and (part := t.score.parts.get(name)) is not None]
        if values:
            means[f"reward/{name}"] = sum(values) / len(values)
    return means


def staleness_metrics(groups: Sequence[Group], version: int, bound: int) -> dict[str, float]:
    """How many updates behind the weights were that each token was sampled with, as shares of tokens.

    Args:
        version: updates that had been made when the groups are trained on.
        bound: the most that is admitted; a share is given for each number up to it.
    """
    versions = [_sampling_versions(attempt) for group in groups for attempt in group.trajectories]
    behind = Counter(version - made for of_attempt in versions for made in of_attempt)
    total = behind.total()
    return {
        **{f"staleness/share/{lag}": behind[lag] / total for lag in range(bound + 1)},
        "staleness/mean": sum(lag * count for lag, count in behind.items()) / total,
        "staleness/max": float(max(behind)),
        "staleness/mixed_fraction": sum(len(set(of_attempt)) > 1 for of_attempt in versions) / len(versions),
    }


def _sampling_versions(attempt: Trajectory) -> list[int]:
    """Which weights each sampled token came from."""
    assert attempt.policy_versions is not None, "engines stamp every token"
    return [made for made, own in zip(attempt.policy_versions, attempt.sampled, strict=True) if own]
