"""Learning from rollouts: groups that the student samples itself, with its newest weights."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from rl_distill.config import config, setting
from rl_distill.models.weights import WeightUpdate
from rl_distill.problems import AnyProblemSet
from rl_distill.rewards import AnyReward, WeightedRewards, score_groups
from rl_distill.rollout.collector import Prompt, Prompter
from rl_distill.rollout.engine import Engine, Sampling, generate_checked, load_checked
from rl_distill.training.cursor import Cursor
from rl_distill.trajectory import Group, Trajectory


@config
class RolloutSourceConfig:
    """Problems the student attempts itself, with its newest weights."""

    name: Literal["rollout"] = "rollout"
    problems: AnyProblemSet = setting(about="problems to attempt")
    rewards: tuple[AnyReward, ...] = setting(about="what an attempt is worth: a weighted sum", min_length=1)
    sampling: Sampling = setting(Sampling(), about="how attempts are sampled")
    prompts_per_step: int = setting(16, about="problems of one step", source="arXiv:2402.03300", ge=1)
    group_size: int = setting(64, about="attempts at each problem", source="arXiv:2402.03300", ge=1)
    shuffle: bool = setting(True, about="new order in each epoch; false keeps the set's order")
    max_prompt_tokens: int | None = setting(
        None, about="leave out problems with a longer prompt; none makes one an error", unit="tokens", ge=1
    )


class RolloutSource:
    """Groups that the engine samples and the rewards score.

    Args:
        learnt: the attempts of a group that the algorithm learns from; with `max_refills`, groups without any are replaced.
        seed, place: of the run, and the stage's name; with step, problem and sample index the address of every sample's seed.
    """

    live = True

    def __init__(
        self,
        settings: RolloutSourceConfig,
        prompts: Sequence[Prompt],
        engine: Engine,
        learnt: Callable[[Group], Sequence[Trajectory]],
        max_refills: int,
        seed: int,
        place: str,
    ) -> None:
        self.settings, self.prompts, self.engine = settings, prompts, engine
        self.rewards = WeightedRewards(settings.rewards)
        self.learnt, self.max_refills, self.address = learnt, max_refills, (seed, place)
        self.cursor = Cursor(len(prompts), seed, shuffle=settings.shuffle)
        self.generated_tokens = 0
        self._metrics: dict[str, float] = {}

    def next(self, step: int) -> list[Group]:
        wanted = self.settings.prompts_per_step
        seconds = {"time/generate": 0.0, "time/score": 0.0}
        sampled: list[Group] = []
        kept: list[Group] = []
        refills = -1
        while len(kept) < wanted and refills < self.max_refills:
            refills += 1
            groups = self._round(step, wanted - len(kept), seconds)
            sampled += groups
            kept += [group for group in groups if not self.max_refills or self.learnt(group)]
        self.generated_tokens = sum(attempt.num_sampled for group in sampled for attempt in group.trajectories)
        self._metrics = {**rollout_metrics(sampled), "rollout/refills": float(refills), **seconds}
        return kept

    def report(self) -> Mapping[str, float]:
        return self._metrics

    def refresh(self, update: WeightUpdate) -> None:
        load_checked(self.engine, update)

    def state(self) -> dict[str, Any]:
        return {"taken": self.cursor.taken}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.cursor.taken = state["taken"]

    def _round(self, step: int, count: int, seconds: dict[str, float]) -> list[Group]:
        started = time.perf_counter()
        drawn = [(self.cursor.epoch, self.prompts[next(self.cursor)]) for _ in range(count)]
        size = self.settings.group_size
        requests = [
            prompt.request(self.settings.sampling, *self.address, step, epoch, sample)
            for epoch, prompt in drawn
            for sample in range(size)
        ]
        attempts = generate_checked(self.engine, requests)
        generated = time.perf_counter()
        groups = [
            Group(problem=prompt.problem, trajectories=tuple(attempts[place * size : (place + 1) * size]))
            for place, (_, prompt) in enumerate(drawn)
        ]
        scored = score_groups(groups, self.rewards)
        seconds["time/generate"] += generated - started
        seconds["time/score"] += time.perf_counter() - generated
        return scored


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


def prompts_for(settings: RolloutSourceConfig, groups: Sequence[Group], prompter: Prompter, field: str) -> Sequence[Prompt]:
    """Problems as prompts, checked against the student's context and, where answers are verified, for gold ones."""
    graded = any(reward.name == "accuracy" for reward in settings.rewards)
    return prompter.prompts(
        groups, settings.sampling, field=f"{field}.problems", graded=graded, max_prompt_tokens=settings.max_prompt_tokens
    )
