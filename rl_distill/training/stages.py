"""A stage: what is learnt from where, with which learner, and what must fit together."""

from rl_distill.algorithms import AnyAlgorithm
from rl_distill.algorithms.base import ROLLOUT_NEEDS, Need
from rl_distill.config import config, setting
from rl_distill.learning.learner import LearnerConfig
from rl_distill.rewards import GroupReward, wrong_answers_cost_nothing
from rl_distill.training.rollout_source import RolloutSourceConfig
from rl_distill.training.sources import AnySource


@config
class Objective:
    """An algorithm on a source."""

    algorithm: AnyAlgorithm = setting(about="how it learns")
    source: AnySource = setting(about="what it learns from")

    def __post_init__(self) -> None:
        if self.algorithm.needs & ROLLOUT_NEEDS and not isinstance(self.source, RolloutSourceConfig):
            raise ValueError(
                f"algorithm {self.algorithm.name!r} trains on what the student samples; use a source with name rollout"
            )
        if Need.BEHAVIOR_LOGPROBS in self.algorithm.needs:
            self._check_rollouts()
        self._check_dialogues()

    @property
    def temperature(self) -> float:
        """At which log-probs are taken: the sampler's, and 1 for text."""
        return self.source.sampling.temperature if isinstance(self.source, RolloutSourceConfig) else 1.0

    def _check_rollouts(self) -> None:
        assert isinstance(self.source, RolloutSourceConfig), "nothing else samples"
        if self.source.sampling.top_p < 1:
            raise ValueError("source.sampling.top_p is below 1, which would make the ratios wrong; sample with 1 in training")
        if self.source.sampling.banned:
            raise ValueError("source.sampling.banned holds words, which would make the ratios wrong; ban none in training")
        if self.source.sampling.temperature == 0:
            raise ValueError("source.sampling.temperature is 0, which leaves nothing to explore; sample above 0 in training")
        if self.source.group_size < self.algorithm.min_group_size:
            least = self.algorithm.min_group_size
            raise ValueError(f"source.group_size {self.source.group_size} has no baseline; sample {least} or more attempts")
        if self.algorithm.needs_signed_rewards and wrong_answers_cost_nothing(self.source.rewards):
            raise ValueError(
                "source.rewards never give a wrong answer less than 0, so with advantage raw nothing would make it less likely; "
                "give [{name: accuracy, correct: 1, wrong: -1}], or take an advantage with a baseline"
            )

    def _check_dialogues(self) -> None:
        """There are the dialogues that the algorithm learns from, and no gold replies that nobody reads."""
        name, dialogue = self.algorithm.name, getattr(self.source, "dialogue", None)
        there = dialogue.branches.contexts if dialogue else frozenset()
        comparing = [reward for reward in getattr(self.source, "rewards", ()) if isinstance(reward, GroupReward)]
        wanted = {f"reward {reward.part!r}": reward.contexts for reward in comparing}
        for who, contexts in ({f"algorithm {name!r}": self.algorithm.contexts} | wanted).items():
            if lacking := contexts - there:
                keys = " and ".join(f"source.dialogue.branches.{context}" for context in sorted(lacking))
                raise ValueError(f"{who} compares with answers in context {', '.join(sorted(lacking))}: set {keys} to 1")
        if dialogue is None and self.algorithm.needs_dialogues:
            raise ValueError(f"algorithm {name!r} learns from dialogues: give source.dialogue")
        if dialogue is None:
            return
        if self.algorithm.needs_gold_replies and dialogue.gold_reply is None:
            raise ValueError(f"algorithm {name!r} asks how likely the gold answer is: set source.dialogue.gold_reply")
        if dialogue.gold_reply is not None and not self.algorithm.needs_gold_replies:
            raise ValueError(f"source.dialogue.gold_reply has no effect, for algorithm {name!r} does not look at it: drop it")


@config
class Beside(Objective):
    """An objective of the same steps as the stage's own, normalised on its own totals."""

    name: str = setting(about="names its metrics and its lines in the ledger", pattern=r"^[a-z][a-z0-9_]*$")
    weight: float = setting(1.0, about="multiplies its loss; the stage's own algorithm has weight 1", gt=0)


BUDGETS = ("max_generated_tokens", "max_trained_tokens", "max_flops", "max_seconds")  # lengths of no known number of steps
LENGTHS = ("steps", "epochs", *BUDGETS)


@config
class Training(Objective):
    """What a student is taught, and for how long: exactly one of `steps`, `epochs` and the four that begin with `max_`."""

    beside: tuple[Beside, ...] = setting((), about="further objectives whose loss is added in every step")
    learner: LearnerConfig = setting(LearnerConfig(), about="how weights change")
    steps: int | None = setting(None, about="rounds of source, loss and update", ge=1)
    epochs: float | None = setting(None, about="passes over a data set's useful groups", gt=0)
    max_generated_tokens: int | None = setting(
        None, about="ends with the step that reaches this many sampled tokens", unit="tokens", ge=1
    )
    max_trained_tokens: int | None = setting(
        None,
        about="ends with the step that reaches this many tokens with loss, each counted every time it is trained on",
        unit="tokens",
        ge=1,
    )
    max_flops: float | None = setting(
        None,
        about="ends with the step that reaches this much sampling, scoring and training, a teacher that reads along included",
        unit="FLOPs",
        gt=0,
    )
    max_seconds: float | None = setting(
        None,
        about="ends with the step that reaches this much time, evaluations and checkpoints left out: no two runs are alike",
        unit="s",
        gt=0,
    )
    mini_batches: int = setting(
        1,
        about="optimizer steps each round's samples are cut into; above 1 the later ones are off-policy, and a source of fewer "
        "units than that takes part in the first ones only",
        ge=1,
    )

    def __post_init__(self) -> None:
        Objective.__post_init__(self)
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"its length is given by {', '.join(given) or 'nothing'}; give exactly one of {', '.join(LENGTHS)}")
        online = isinstance(self.source, RolloutSourceConfig)
        if given == ["epochs"] and online:
            raise ValueError("epochs counts passes over a data set, and rollouts have none; give steps or max_generated_tokens")
        if given == ["max_generated_tokens"] and not online:
            raise ValueError("max_generated_tokens never ends a data set stage; give steps or epochs")
        if given[0] in BUDGETS:
            self._check_schedule()
        names = ["main", *(objective.name for objective in self.beside)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"beside: two objectives of the stage are named {twice!r} (main is its own): rename one")

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Its own and those beside it."""
        return (self, *self.beside)

    def _check_schedule(self) -> None:
        if self.learner.schedule != "constant":
            raise ValueError(
                f"learner.schedule {self.learner.schedule!r} needs a known number of steps; use constant, or give steps"
            )
        if self.learner.warmup_fraction and self.learner.warmup_steps is None:
            raise ValueError("learner.warmup_fraction needs a known number of steps; give learner.warmup_steps")


@config
class Stage(Training):
    """A named training in a run."""

    name: str = setting(about="names the stage's folder and its row in the table", pattern=r"^[a-z][a-z0-9_]*$")
    start: str | None = setting(None, about="stage whose student it goes on with, or base; none is the stage before")
