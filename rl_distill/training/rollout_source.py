"""Learning from rollouts: groups that the student samples itself, with its newest weights or some that are little older."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from rl_distill.config import config, setting
from rl_distill.problems import AnyProblemSet
from rl_distill.rewards import AnyReward, Verifier, WeightedRewards, score_groups
from rl_distill.rollout.collector import Prompt, Prompter
from rl_distill.rollout.dialogue import DialogueConfig
from rl_distill.rollout.engine import Sampling
from rl_distill.rollout.interview import Interviewer
from rl_distill.training.cursor import Cursor
from rl_distill.training.dialogue_rounds import DialogueRounds
from rl_distill.training.rollout_metrics import context_metrics, rollout_metrics, staleness_metrics
from rl_distill.training.rounds import Rounds, Sampler
from rl_distill.training.work_counts import WorkCounts
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
    max_staleness: int = setting(
        0,
        about="steps that sampling may run ahead of training; 0 waits for each other, above it needs cluster.name=ray",
        source="arXiv:2505.24298",
        ge=0,
    )
    shuffle: bool = setting(True, about="new order in each epoch; false keeps the set's order")
    max_prompt_tokens: int | None = setting(
        None, about="leave out problems with a longer prompt; none makes one an error", unit="tokens", ge=1
    )
    dialogue: DialogueConfig | None = setting(
        None, about="probes that are asked before each problem; group_size then counts dialogues; none puts problems alone"
    )

    def __post_init__(self) -> None:
        if self.dialogue is None:
            return
        if self.max_staleness:
            raise ValueError(
                f"max_staleness {self.max_staleness} cannot run dialogues ahead, whose turns wait for each other: set it to 0"
            )
        if self.dialogue.branches.shuffled and self.prompts_per_step < 2:
            raise ValueError(
                "dialogue.branches.shuffled takes replies from another problem of the step, and prompts_per_step is 1: raise it"
            )


class RolloutSource:
    """Groups that the engine samples and the rewards score.

    Args:
        learnt: the attempts of a group that the algorithm learns from; with `max_refills`, groups without any are replaced.
        seed, place: of the run, and the stage's name.
        steps: of the stage, or None where a token budget ends it.
        interviewer: words the dialogues, if the settings have any.
    """

    live = True

    def __init__(
        self,
        settings: RolloutSourceConfig,
        prompts: Sequence[Prompt],
        sampler: Sampler,
        learnt: Callable[[Group], Sequence[Trajectory]],
        max_refills: int,
        seed: int,
        place: str,
        steps: int | None = None,
        interviewer: Interviewer | None = None,
    ) -> None:
        self.settings, self.sampler = settings, sampler
        self.rewards = WeightedRewards(settings.rewards)
        self.learnt, self.max_refills = learnt, max_refills
        common: dict[str, Any] = {
            "address": (seed, place),
            "cursor": Cursor(len(prompts), seed, shuffle=settings.shuffle),
            "size": settings.prompts_per_step,
            "group_size": settings.group_size,
        }
        self.rounds: Rounds | DialogueRounds = (
            Rounds(prompts, sampler, settings.sampling, **common, max_staleness=settings.max_staleness, steps=steps)
            if interviewer is None
            else DialogueRounds(prompts, sampler, settings.sampling, interviewer, **common)
        )
        self.generated_tokens = 0
        self.work: WorkCounts = {}
        self._metrics: dict[str, float] = {}
        self._returned: float | None = None
        self._learning_seconds = 0.0  # from the last groups that were handed out to the weights learnt from them

    def next(self, step: int) -> list[Group]:
        asked = time.perf_counter()
        queued = float(self.rounds.ready())
        self.rounds.forget()
        seconds = {"time/generate": 0.0, "time/score": 0.0}
        sampled = self._scored(lambda: self.rounds.take(step), seconds)
        kept, refills = self._useful(sampled), 0
        while len(kept) < self.settings.prompts_per_step and refills < self.max_refills:
            refills += 1
            lacking = self.settings.prompts_per_step - len(kept)
            groups = self._scored(partial(self.rounds.refill, step, refills, lacking), seconds)
            sampled += groups
            kept += self._useful(groups)
        self.generated_tokens, self.work = self.rounds.generated_tokens, self.rounds.work
        counts = {"rollout/generated_tokens": float(self.generated_tokens), "rollout/refills": float(refills)}
        self._metrics = {**rollout_metrics(sampled), **counts, **seconds}
        if self.settings.dialogue is not None:
            self._metrics |= {**context_metrics(sampled), **self.rounds.report()}
        if self.settings.max_staleness:
            since = self._learning_seconds + time.perf_counter() - asked
            idle = 1.0 - self.rounds.busy_seconds / (since * self.sampler.num_workers)
            self._metrics |= {
                **staleness_metrics(sampled, step, self.settings.max_staleness),
                "rollout/queued_groups": queued,
                "engine/idle_fraction": max(0.0, idle),
                "learner/idle_fraction": seconds["time/generate"] / since,
            }
        self._returned = time.perf_counter()
        return kept

    def report(self) -> Mapping[str, float]:
        return self._metrics

    @property
    def schedule(self) -> Sequence[Mapping[str, Any]]:
        """Which shards the last step's attempts travelled in, and which weights each met."""
        return self.rounds.schedule

    def refresh(self, version: int) -> None:
        if self.settings.max_staleness:
            self.rounds.submit_ahead(version)
        if self._returned is not None:
            self._learning_seconds = time.perf_counter() - self._returned

    def state(self) -> dict[str, Any]:
        return self.rounds.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.rounds.load_state(state)

    def _useful(self, groups: Sequence[Group]) -> list[Group]:
        return [group for group in groups if not self.max_refills or self.learnt(group)]

    def _scored(self, sample: Callable[[], list[Group]], seconds: dict[str, float]) -> list[Group]:
        started = time.perf_counter()
        groups = sample()
        generated = time.perf_counter()
        scored = _scored_attempts(groups, self.rewards)
        seconds["time/generate"] += generated - started
        seconds["time/score"] += time.perf_counter() - generated
        return scored


def prompts_for(settings: RolloutSourceConfig, groups: Sequence[Group], prompter: Prompter, field: str) -> Sequence[Prompt]:
    """Problems as prompts, checked against the student's context and for what the rewards' verifiers judge answers by."""
    return prompter.prompts(
        groups,
        settings.sampling,
        field=f"{field}.problems",
        verifiers=[reward for reward in settings.rewards if isinstance(reward, Verifier)],
        max_prompt_tokens=settings.max_prompt_tokens,
    )


def _scored_attempts(groups: Sequence[Group], rewards: WeightedRewards) -> list[Group]:
    """The same groups with the student's attempts scored; what a teacher says at their end has no score."""
    own = [replace(group, trajectories=tuple(t for t in group.trajectories if t.origin == "policy")) for group in groups]
    scored = score_groups(own, rewards)
    return [
        replace(group, trajectories=(*group.trajectories, *before.trajectories[len(group.trajectories) :]))
        for group, before in zip(scored, groups, strict=True)
    ]
