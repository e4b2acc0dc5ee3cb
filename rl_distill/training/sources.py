"""What a stage learns from: groups of a data set, or groups that the student itself samples."""

import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Literal, Protocol

from rl_distill.config import config, setting
from rl_distill.errors import InputError, RunError
from rl_distill.models.weights import WeightUpdate
from rl_distill.problems import AnyProblemSet
from rl_distill.rewards import AnyReward, WeightedRewards, score_groups
from rl_distill.rollout.collector import Prompt, Prompter
from rl_distill.rollout.engine import Engine, Sampling
from rl_distill.seeding import addressed_seed
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import Group


@config
class DatasetSourceConfig:
    """Teacher data: each step takes the next groups of a shuffled data set that the algorithm can learn from."""

    name: Literal["dataset"] = "dataset"
    problems: AnyProblemSet = setting(about="problems with a teacher's attempts")
    groups_per_step: int = setting(32, about="groups (a trace, or a pair) of one optimizer step", source="arXiv:2505.24850", ge=1)
    shuffle: bool = setting(True, about="new order in each epoch; false keeps the data set's order")
    max_tokens: int | None = setting(
        None, about="leave out groups with a longer attempt; none makes such a group an error", unit="tokens", ge=1
    )


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


SOURCES: dict[str, type] = {"dataset": DatasetSourceConfig, "rollout": RolloutSourceConfig}


class Source(Protocol):
    live: bool  # does it sample from the student?

    def next(self, step: int) -> list[Group]:
        """The groups of one step."""
        ...

    def report(self) -> Mapping[str, float]:
        """Metrics about the groups of the last step."""
        ...

    def refresh(self, update: WeightUpdate) -> None:
        """New weights exist."""
        ...

    def state(self) -> dict[str, Any]:
        """What `load_state` needs to go on from here (JSON)."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


class Cursor:
    """An endless walk over `count` items, each epoch in an order of its own, which is a function of the address alone."""

    def __init__(self, count: int, *address: int | str, shuffle: bool) -> None:
        self.count, self.address, self.shuffle = count, address, shuffle
        self.taken = 0
        self._order: tuple[int, Sequence[int]] = (-1, ())

    @property
    def epoch(self) -> int:
        """Which walk over all items the next one belongs to, from 0."""
        return self.taken // self.count

    def __next__(self) -> int:
        epoch, place = divmod(self.taken, self.count)
        if self._order[0] != epoch:
            order: Sequence[int] = range(self.count)
            if self.shuffle:
                order = list(order)
                Random(addressed_seed(*self.address, "order", epoch)).shuffle(order)
            self._order = (epoch, order)
        self.taken += 1
        return self._order[1][place]


class DatasetSource:
    """Groups of a data set, tokenised when they are first read.

    Args:
        useful: whether the algorithm has anything to learn from a group; others are passed over and counted.
    """

    live = False

    def __init__(
        self, settings: DatasetSourceConfig, groups: Tokenized, useful: Callable[[Group], bool], *address: int | str
    ) -> None:
        self.settings, self.groups, self.useful = settings, groups, useful
        self.cursor = Cursor(len(groups), *address, shuffle=settings.shuffle)
        self.left_out = 0

    def count(self) -> int:
        """How many groups the algorithm can learn from. Reads the whole data set."""
        return sum(1 for index in range(len(self.groups)) if self._take(index) is not None)

    def next(self, step: int) -> list[Group]:
        found: list[Group] = []
        passed = 0
        while len(found) < self.settings.groups_per_step:
            group = self._take(next(self.cursor))
            if group is not None:
                found.append(group)
                passed = 0
                continue
            passed += 1
            self.left_out += 1
            if passed >= len(self.groups):
                raise InputError(
                    f"{self.groups.field}.problems",
                    f"none of its {len(self.groups)} groups has what the algorithm learns from",
                    "sft needs a correct attempt, pairs need a correct and a wrong one; check max_tokens too",
                )
        return found

    def report(self) -> Mapping[str, float]:
        return {"group/left_out": float(self.left_out), "source/epoch": self.cursor.taken / len(self.groups)}

    def refresh(self, update: WeightUpdate) -> None:
        """Nothing to do: a data set does not depend on the student."""

    def state(self) -> dict[str, Any]:
        return {"taken": self.cursor.taken, "left_out": self.left_out}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.cursor.taken, self.left_out = state["taken"], state["left_out"]

    def _take(self, index: int) -> Group | None:
        group = self.groups[index]
        return group if group is not None and self.useful(group) else None


class RolloutSource:
    """Groups that the engine samples and the rewards score.

    Args:
        useful: whether the algorithm can learn from a group; with `max_refills`, others are replaced by further problems.
        address: (run seed, stage); with step, problem and sample index it is the address of every seed.
    """

    live = True

    def __init__(
        self,
        settings: RolloutSourceConfig,
        prompts: Sequence[Prompt],
        engine: Engine,
        useful: Callable[[Group], bool],
        max_refills: int,
        *address: int | str,
    ) -> None:
        self.settings, self.prompts, self.engine = settings, prompts, engine
        self.rewards = WeightedRewards(settings.rewards)
        self.useful, self.max_refills, self.address = useful, max_refills, address
        self.cursor = Cursor(len(prompts), *address, shuffle=settings.shuffle)
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
            kept += [group for group in groups if not self.max_refills or self.useful(group)]
        self._metrics = {**rollout_metrics(sampled), "rollout/refills": float(refills), **seconds}
        return kept

    def report(self) -> Mapping[str, float]:
        return self._metrics

    def refresh(self, update: WeightUpdate) -> None:
        digest = self.engine.load_weights(update)
        if digest != update.digest:
            raise RunError(
                f"the engine holds other weights than the learner published as version {update.version}: "
                f"digest {digest} is not {update.digest}"
            )

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
        attempts = self.engine.generate(requests)
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
    flat = [len(set(values)) <= 1 for values in by_group]
    metrics = {
        "group/count": float(len(groups)),
        "group/zero_variance_fraction": sum(flat) / len(flat),
        "rollout/generated_tokens": float(sum(tokens)),
        "rollout/response_tokens": sum(tokens) / len(tokens),
        "rollout/truncated_fraction": sum(trajectory.finish_reason == "length" for trajectory in attempts) / len(attempts),
        "rollout/unverifiable": float(sum(trajectory.status == "unverifiable" for trajectory in attempts)),
    }
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
