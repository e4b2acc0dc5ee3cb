"""What an algorithm is: a frozen value with two hooks, one without tensors and one that is nothing but tensors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from rl_distill.batch import Batch, Candidates, PolicyOutput, Totals
from rl_distill.trajectory import Context, Group, Sample


class Need(Enum):
    """What must exist before an algorithm can run; the builder provides it."""

    ROLLOUTS = "rollouts"  # attempts that the student samples itself
    BEHAVIOR_LOGPROBS = "behavior_logprobs"  # sampled by an engine of ours, with its log-probs
    PROXIMAL_LOGPROBS = "proximal_logprobs"  # the learner's own log-probs just before it updates on the batch
    REFERENCE_LOGPROBS = "reference_logprobs"  # a frozen reference model's log-probs of every sample
    REFERENCE_CREDIT = "reference_credit"  # the same for every attempt, before `samples` gives credit
    TEACHER_LOGPROBS = "teacher_logprobs"  # a teacher's log-probs of every sampled token
    TEACHER_CANDIDATES = "teacher_candidates"  # a teacher's log-probs of the tokens of `Algorithm.candidates`


ROLLOUT_NEEDS = frozenset({Need.ROLLOUTS, Need.BEHAVIOR_LOGPROBS})  # only a source that samples from the student has them
REFERENCE_NEEDS = frozenset({Need.REFERENCE_LOGPROBS, Need.REFERENCE_CREDIT})
TEACHER_NEEDS = frozenset({Need.TEACHER_LOGPROBS, Need.TEACHER_CANDIDATES})


@dataclass(frozen=True, slots=True)
class LossOutput:
    """A micro-batch's share of the step: already divided by `Totals`, so that shares add up, loss and metrics alike."""

    loss: Tensor
    metrics: dict[str, Tensor]
    credited: Tensor | None = None  # the part of the loss that imitates and avoids, where a regulariser stands beside it


class Algorithm(ABC):
    """Who is trained on, with what credit, under which loss. Concrete classes are `@config` with a `name` and paper defaults."""

    name: str
    max_refills: int = 0  # rounds of rollouts that may be sampled to replace groups which teach nothing

    @property
    def min_group_size(self) -> int:
        """Attempts at one problem without which there is no credit."""
        return 1

    @property
    def avoids_wrong(self) -> bool:
        """Whether wrong attempts are meant to become less likely; if so, one that carries no weight raises an alarm."""
        return True

    @property
    def needs_signed_rewards(self) -> bool:
        """Whether credit is the reward itself, so that only a negative one makes an attempt less likely."""
        return False

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    @property
    def needs_dialogues(self) -> bool:
        """Whether it learns from dialogues that end in the problem, and not from answers to the problem alone."""
        return False

    @property
    def contexts(self) -> frozenset[Context]:
        """Branches of a dialogue whose answers its credit compares with the dialogue's own."""
        return frozenset()

    @property
    def needs_gold_replies(self) -> bool:
        """Whether it looks at how likely the gold answer is after a dialogue."""
        return False

    @property
    def imitates_lessons(self) -> bool:
        """Whether it imitates, beside its objective, what a teacher says in the place of the student."""
        return False

    @property
    def needs_warm_start(self) -> bool:
        """Whether it refuses a student that no earlier stage has taught from data."""
        return False

    @property
    def candidates(self) -> Candidates | None:
        """The next tokens at which the loss compares the student with a teacher; None where it looks at sampled tokens alone."""
        return None

    @abstractmethod
    def samples(self, group: Group) -> list[Sample]:
        """What to learn from one group; [] means nothing (it is counted). Runs on the driver, without tensors."""

    def finish(self, samples: Sequence[Sample]) -> list[Sample]:
        """Credit that needs the whole step (batch-level normalisation); most algorithms have none."""
        return list(samples)

    def moves(self, sample: Sample) -> bool:
        """Whether the loss depends on the policy here at all; a sample for which it never does is run without a backward pass."""
        return True

    @abstractmethod
    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        """The micro-batch's share of the step's loss: a pure function, free of state and of any process's rank."""

    def group_metrics(self, groups: Sequence[Group]) -> dict[str, float]:
        """What the credit of a step's groups was made of, beside what the loss says."""
        return {}

    def summarize(self, metrics: dict[str, float]) -> dict[str, float]:
        """The step's metrics from its sums over all micro-batches and ranks; for figures that do not add up, such as ratios."""
        return metrics
