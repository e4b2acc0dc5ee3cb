"""What tells a person that a run has gone wrong although nothing has failed.

Each alarm looks at the metrics of every step. It fires when its condition has held for `patience` steps in a row: a warning once,
and again only after a calm of 20 steps; a stop at every step, so that going on takes a decision. What an alarm has seen is part
of the checkpoint: a resumed run fires as an undisturbed one.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from itertools import pairwise
from statistics import mean
from typing import Any, ClassVar, Literal

from rl_distill.config import config, setting

Action = Literal["ignore", "warn", "stop"]
BESIDE = "beside/"
FLOAT32_RESOLUTION = 2.0**-24  # a change smaller than this share of a number is rounded away
CALM_STEPS = 20  # without the condition, before an alarm warns again
START_STEPS = 3  # few, so that a fast collapse is no part of its own start
Metrics = Mapping[str, float]


class Alarm(ABC):
    """A condition on a step's metrics. Concrete classes are `@config`."""

    action: Action
    patience: int
    whole_step: ClassVar[bool] = False  # looks at all metrics at once, not at each objective's
    about_rewards: ClassVar[bool] = False  # looks only at objectives that avoid what earns less

    @abstractmethod
    def sees(self, metrics: Metrics, memory: dict[str, Any]) -> str | None:
        """What is wrong in this step, and what may help; None if nothing is, or the step has not what the alarm looks at.

        Args:
            metrics: of one objective, and those of the whole step.
            memory: the alarm's own, JSON, kept from step to step.
        """


@config
class NotFinite(Alarm):
    """The loss, the gradient or another metric is NaN or infinite. The learner leaves the weights alone in such a step."""

    whole_step: ClassVar[bool] = True

    action: Action = setting("stop", about="ignore, warn or stop")
    patience: int = setting(1, about="steps in a row before it fires", ge=1)

    def sees(self, metrics: Metrics, memory: dict[str, Any]) -> str | None:
        bad = [path for path, value in metrics.items() if not math.isfinite(value)]
        if not bad:
            return None
        values = ", ".join(f"{path} {metrics[path]}" for path in bad[:3])
        updates = metrics.get("learner/skipped", 0.0)
        skipped = f"; {updates:g} of the step's updates were skipped, with the weights left as they were" if updates else ""
        return f"{values}{skipped}: try a lower learner.learning_rate or precision float32, in a new run_dir"


@config
class Collapse(Alarm):
    """Right answers become unlikely together with the wrong ones. The margin and the loss look better than ever meanwhile.

    arXiv:2505.24850, Figures 4 to 6: a healthy run loses 0.15 nat over its epoch, every collapse passes 0.6 soon after its onset.
    Steps hold different pairs, so the fall has to exceed the limit by two standard errors of the means.
    """

    action: Action = setting("warn", about="ignore, warn or stop")
    patience: int = setting(1, about="steps in a row before it fires", ge=1)
    max_drop: float = setting(
        0.3, about="fall of logprob/chosen below its start", unit="nats", source="arXiv:2505.24850, between its runs", gt=0
    )
    window: int = setting(10, about="the present is the mean over this many steps; the start is the first three", ge=1)

    def sees(self, metrics: Metrics, memory: dict[str, Any]) -> str | None:
        value = metrics.get("logprob/chosen", math.nan)
        if not math.isfinite(value) or "credit/negatives" not in metrics:
            return None
        first, recent = memory.setdefault("first", []), memory.setdefault("recent", [])
        if len(first) < min(START_STEPS, self.window):
            first.append(value)
        recent.append(value)
        del recent[: -self.window]
        start, now = mean(first), mean(recent)
        noise = (_variance_between_steps(recent) * (1 / len(first) + 1 / len(recent))) ** 0.5
        if start - now - 2 * noise <= self.max_drop:
            return None
        return (
            f"logprob/chosen fell from {start:.2f} to {now:.2f}, more than {self.max_drop} nat: right answers are pushed down "
            "with the wrong ones; lower learner.learning_rate or the weight of the negatives"
        )


def _variance_between_steps(values: Sequence[float]) -> float:
    """Variance of what differs from step to step, from differences of neighbors, so that a trend is no part of it."""
    return mean((now - before) ** 2 / 2 for before, now in pairwise(values)) if len(values) > 1 else 0.0


@config
class WeightlessNegatives(Alarm):
    """Some attempts are wrong or earn less than others, the algorithm means to avoid such, and its loss pushes none of them down.

    Rewards of a function come without verdicts: there, that nothing at all is pushed down while rewards differ gives it away.
    """

    action: Action = setting("warn", about="ignore, warn or stop")
    patience: int = setting(10, about="steps in a row before it fires", ge=1)

    def sees(self, metrics: Metrics, memory: dict[str, Any]) -> str | None:
        wrong = metrics.get("credit/negatives")
        if wrong is None or metrics.get("group/zero_variance_fraction") == 1.0:  # that is flat_reward's
            return None
        weightless = wrong > 0 and metrics["credit/weightless_negatives"] >= wrong
        unequal = metrics.get("group/zero_variance_fraction", 1.0) < 1
        if not weightless and not (unequal and metrics.get("credit/negative") == 0):
            return None
        return (
            "no wrong or less rewarded attempt carries weight in the loss: wrong answers are not avoided; check the rewards (a "
            "wrong one worth 0 needs a baseline, or -1) and the algorithm's negative coefficient"
        )


@config
class NoUpdate(Alarm):
    """The step does not change the model: nothing to train on, no gradient, or a change below what the numbers can hold."""

    whole_step: ClassVar[bool] = True

    action: Action = setting("warn", about="ignore, warn or stop")
    patience: int = setting(5, about="steps in a row before it fires", ge=1)

    def sees(self, metrics: Metrics, memory: dict[str, Any]) -> str | None:
        if metrics.get("learner/skipped"):
            return None
        if "update/norm" not in metrics:
            return "no group gave anything to train on: the model does not change"
        absent = [path.rpartition("/")[2] for path, share in metrics.items() if path.startswith("gradient/share/") and not share]
        if absent:
            return f"objective {absent[0]!r} has no part in the gradient: its groups teach nothing, or it is without weight"
        if metrics["gradient/norm"] == 0:
            return "the gradient is 0: nothing is learnt, and only the optimizer's momentum or weight decay moves the model"
        if metrics["update/relative"] < FLOAT32_RESOLUTION:
            rate = metrics["learner/learning_rate"]
            return f"the weights do not change at learning rate {rate:g}: float32 rounds such a small step away; raise it"
        return None


@config
class FlatReward(Alarm):
    """No group has attempts with different rewards, so a method with a group baseline has no signal at all.

    Methods that avoid nothing, such as `gkd` and `opd`, are not watched: where they have rewards, these are only measured.
    """

    about_rewards: ClassVar[bool] = True

    action: Action = setting("warn", about="ignore, warn or stop")
    patience: int = setting(5, about="steps in a row before it fires", ge=1)

    def sees(self, metrics: Metrics, memory: dict[str, Any]) -> str | None:
        if metrics.get("group/zero_variance_fraction") != 1.0:
            return None
        level = f"{metrics['reward/mean']:.3g} on average" if "reward/mean" in metrics else "none at all"
        return (
            f"all attempts at a problem get the same reward ({level}): nothing tells good from bad; look at trajectories/ for "
            "answers the verifier cannot read, take easier problems or larger groups, or teach the format first"
        )


@config
class Mismatch(Alarm):
    """Learner and engine disagree on the log-probs of the sampled tokens: stale or damaged weights, or too coarse a precision."""

    action: Action = setting("warn", about="ignore, warn or stop")
    patience: int = setting(1, about="steps in a row before it fires", ge=1)
    max_kl: float = setting(0.1, about="largest policy/mismatch_kl", unit="nats per token", gt=0)

    def sees(self, metrics: Metrics, memory: dict[str, Any]) -> str | None:
        kl = metrics.get("policy/mismatch_kl", 0.0)
        if not kl > self.max_kl:
            return None
        return (
            f"policy/mismatch_kl is {kl:.3g}: learner and engine disagree on what was sampled; check precision, engine and "
            "mini_batches, or set algorithm.correction"
        )


@config
class DroppedDialogues(Alarm):
    """Dialogues outgrow the student's context and are left out whole: what is learnt from is short ones only, or nothing."""

    action: Action = setting("warn", about="ignore, warn or stop")
    patience: int = setting(1, about="steps in a row before it fires", ge=1)
    max_fraction: float = setting(0.5, about="largest dialogue/dropped_fraction", ge=0, lt=1)

    def sees(self, metrics: Metrics, memory: dict[str, Any]) -> str | None:
        share = metrics.get("dialogue/dropped_fraction", 0.0)
        if not share > self.max_fraction:
            return None
        return (
            f"{share:.0%} of the dialogues outgrew the student's context and were dropped whole: lower dialogue.reply_tokens, "
            "dialogue.num_probes or sampling.max_tokens, or take a student with a longer context"
        )


@config
class Alarms:
    """What a run watches itself for."""

    not_finite: NotFinite = setting(NotFinite(), about="NaN or infinity among the metrics")
    collapse: Collapse = setting(Collapse(), about="right answers become unlikely")
    weightless_negatives: WeightlessNegatives = setting(WeightlessNegatives(), about="wrong attempts carry no weight")
    no_update: NoUpdate = setting(NoUpdate(), about="steps that do not change the model")
    flat_reward: FlatReward = setting(FlatReward(), about="rewards that never differ")
    mismatch: Mismatch = setting(Mismatch(), about="learner and engine disagree")
    dropped_dialogues: DroppedDialogues = setting(DroppedDialogues(), about="dialogues that outgrow the context")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alarm that fires: its name (with the objective beside the stage's own that it is about), and what to say."""

    alarm: str
    action: Action
    text: str


class AlarmBoard:
    """All alarms of a stage, over every objective of its steps.

    Args:
        avoiding: names of the objectives ("" is the stage's own) whose algorithm means to make some attempts less likely.
    """

    def __init__(self, alarms: Alarms, avoiding: Collection[str]) -> None:
        named = {field.name: getattr(alarms, field.name) for field in fields(alarms)}
        self.armed: dict[str, Alarm] = {name: alarm for name, alarm in named.items() if alarm.action != "ignore"}
        self._avoiding = {f":{name}" if name else "" for name in avoiding}
        self._memory: dict[str, dict[str, Any]] = {}
        self._held: dict[str, int] = {}  # steps in a row in which the condition held
        self._calm: dict[str, int] = {}  # steps since it did, of alarms that have fired

    def look(self, metrics: Metrics) -> list[Alert]:
        """The alarms that fire at this step."""
        alerts = []
        views = _objectives(metrics)
        for name, alarm in self.armed.items():
            for suffix, view in {"": metrics}.items() if alarm.whole_step else views.items():
                if alarm.about_rewards and suffix not in self._avoiding:
                    continue
                key = f"{name}{suffix}"
                text = alarm.sees(view, self._memory.setdefault(key, {}))
                if self._fires(key, alarm, text is not None) and text:
                    alerts.append(Alert(alarm=key, action=alarm.action, text=text))
        return alerts

    def ringing(self) -> dict[str, float]:
        """Metrics: 1 for every alarm whose condition has held for its patience, with the paths of its objective."""
        found = {}
        for key, steps in self._held.items():
            name, _, objective = key.partition(":")
            if steps >= self.armed[name].patience:
                found[f"{BESIDE}{objective}/alarm/{name}" if objective else f"alarm/{name}"] = 1.0
        return found

    def stopping(self) -> str | None:
        """An alarm that stops the run and whose condition held at the last step."""
        names = {key: key.partition(":")[0] for key in self._held}
        stopping = {key: self.armed[name] for key, name in names.items() if self.armed[name].action == "stop"}
        return next((key for key, alarm in stopping.items() if self._held[key] >= alarm.patience), None)

    def _fires(self, key: str, alarm: Alarm, holds: bool) -> bool:
        self._held[key] = self._held.get(key, 0) + 1 if holds else 0
        if key in self._calm:
            self._calm[key] = 0 if holds else self._calm[key] + 1
            if self._calm[key] >= CALM_STEPS:
                del self._calm[key]
        if self._held[key] < alarm.patience or (key in self._calm and alarm.action != "stop"):
            return False
        self._calm[key] = 0
        return True

    def state(self) -> dict[str, Any]:
        memory = {key: seen for key, seen in self._memory.items() if seen}
        return deepcopy({"memory": memory, "held": self._held, "calm": self._calm})

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Alarms that are no longer armed are forgotten: their action may change when a run is continued."""
        for name, kept in (("memory", self._memory), ("held", self._held), ("calm", self._calm)):
            kept.update({key: value for key, value in state[name].items() if key.partition(":")[0] in self.armed})


def _objectives(metrics: Metrics) -> Mapping[str, Metrics]:
    """The metrics of each objective under their own paths: the stage's own under "", others under ":NAME"."""
    own = {path: value for path, value in metrics.items() if not path.startswith(BESIDE)}
    found: dict[str, dict[str, float]] = {"": own}
    for path, value in metrics.items():
        if path.startswith(BESIDE):
            _, name, metric = path.split("/", 2)
            found.setdefault(f":{name}", {})[metric] = value
    return found
