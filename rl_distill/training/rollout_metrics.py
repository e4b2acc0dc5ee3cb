"""Metrics of a step's attempts: what they look like, and how old the weights were that they were sampled with."""

from collections import Counter
from collections.abc import Sequence

from rl_distill.trajectory import Group, Trajectory


def rollout_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """What a step's attempts look like, all of them, also those that nothing is learnt from."""
    attempts = [trajectory for group in groups for trajectory in group.trajectories]
    rewards = [reward for trajectory in attempts if (reward := trajectory.reward) is not None]
    tokens = [trajectory.num_sampled for trajectory in attempts]
    by_group = [[t.reward for t in group.trajectories if t.reward is not None] for group in groups]
    flat = [len(set(values)) == 1 for values in by_group if len(values) > 1]  # one reward alone is neither flat nor not
    metrics = {
        "group/count": float(len(groups)),
        "rollout/generated_tokens": float(sum(tokens)),
        "rollout/response_tokens": sum(tokens) / len(tokens),
        "rollout/truncated_fraction": sum(trajectory.finish_reason == "length" for trajectory in attempts) / len(attempts),
        "rollout/unverifiable": float(sum(trajectory.status == "unverifiable" for trajectory in attempts)),
    }
    if flat:
        metrics["group/zero_variance_fraction"] = sum(flat) / len(flat)
    judged = [attempt.status == "correct" for attempt in attempts if attempt.status in ("correct", "wrong")]
    if judged:
        metrics["rollout/correct_fraction"] = sum(judged) / len(judged)
    if rewards:
        mean = sum(rewards) / len(rewards)
        metrics["reward/mean"] = mean
        metrics["reward/std"] = (sum((reward - mean) ** 2 for reward in rewards) / len(rewards)) ** 0.5
    names = sorted({name for trajectory in attempts if trajectory.score for name in trajectory.score.parts})
    for name in names:
        values = [part for t in attempts if t.score and (part := t.score.parts.get(name)) is not None]
        if values:
            metrics[f"reward/{name}"] = sum(values) / len(values)
    return metrics


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
