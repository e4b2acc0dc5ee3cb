"""The records that flow through everything: problems, attempts at them, and what an algorithm makes of an attempt.

All are frozen and hold no tensors, so they travel between processes and into JSON as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Status = Literal["correct", "wrong", "unverifiable"]
Origin = Literal["policy", "teacher"]
FinishReason = Literal["stop", "length", "error"]
Context = Literal["direct", "partial", "full", "blanked", "shuffled", "think_longer"]
TEACHER_TEMPERATURE = "teacher_temperature"  # key of an attempt's metadata: of the softmax that its candidates' log-probs are of
TEACHER_VOCABULARY = "teacher_vocabulary"  # ... and the digest of the vocabulary that its ids are of
ALIGNED = (  # with `token_ids`
    *("sampled", "behavior_logprobs", "reference_logprobs", "proximal_logprobs", "policy_versions"),
    *("teacher_logprobs", "candidate_ids", "teacher_candidate_logprobs"),
)


class Message(NamedTuple):
    """One chat turn; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question with its gold answer; `answer` is None where nobody knows it (such a problem cannot be verified)."""

    id: str
    prompt: str
    answer: str | None
    source: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier found. `unverifiable` means that it could not tell: it is neither right nor wrong."""

    status: Status
    method: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The reward of a trajectory: the weighted sum, its parts before weighting, and the verdict on the answer.

    `value` is None when no reward exists (unverifiable): such a trajectory enters no baseline and no average.
    """

    value: float | None
    verdict: Verdict | None
    parts: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One attempt at a problem, exactly as it was sampled: a flat token stream in which `sampled` marks the model's choices.

    Example: a probe p, the reply r, the problem q, the answer a, with two tokens each
        token_ids = p + r + q + a
        sampled   = F F T T F F T T
    so a dialogue of many turns and a one-shot answer are the same thing to every algorithm.

    `behavior_logprobs` (by the policy that sampled, at its sampling temperature), `reference_logprobs`, `proximal_logprobs` (by
    the learner just before it updates), `teacher_logprobs` and `policy_versions` are aligned with `token_ids`; their entries
    where `sampled` is False carry no meaning (0). So are `candidate_ids`, next tokens at which a teacher is compared with the
    student, and `teacher_candidate_logprobs`, its log-probs of them and, at the end, of all others if there are others; where
    `sampled` is False these are ().

    Raises:
        ValueError: a column has another length than `token_ids`: what is trained on would not be what was sampled.
    """

    problem_id: str
    messages: tuple[Message, ...]
    token_ids: tuple[int, ...] = ()
    sampled: tuple[bool, ...] = ()
    behavior_logprobs: tuple[float, ...] | None = None
    reference_logprobs: tuple[float, ...] | None = None
    proximal_logprobs: tuple[float, ...] | None = None
    teacher_logprobs: tuple[float, ...] | None = None
    candidate_ids: tuple[tuple[int, ...], ...] | None = None
    teacher_candidate_logprobs: tuple[tuple[float, ...], ...] | None = None
    policy_versions: tuple[int, ...] | None = None
    model: str
    origin: Origin
    context: Context = "direct"
    finish_reason: FinishReason = "stop"
    score: Score | None = None
    seed: int | None = None
    dialogue: int | None = None  # which of its group's dialogues it ends, or stands beside
    control: bool = False  # sampled to be compared with: it is never trained on
    metadata: Mapping[str, Any] = field(default_factory=dict)  # where it came from and what it cost, plain data

    def __post_init__(self) -> None:
        for name in ALIGNED:
            column = getattr(self, name)
            if column is not None and len(column) != len(self.token_ids):
                raise ValueError(
                    f"{name}: has {len(column)} entries for the {len(self.token_ids)} tokens of an attempt at {self.problem_id!r}"
                )

    @property
    def response(self) -> str:
        """The text that is graded: the last assistant turn ("" if there is none)."""
        return next((turn.content for turn in reversed(self.messages) if turn.role == "assistant"), "")

    @property
    def response_ids(self) -> tuple[int, ...]:
        """The tokens that are graded: those sampled since the last turn was put."""
        count = next((place for place, own in enumerate(reversed(self.sampled)) if not own), len(self.sampled))
        return self.token_ids[len(self.token_ids) - count :]

    @property
    def num_sampled(self) -> int:
        """Tokens of all turns."""
        return sum(self.sampled)

    @property
    def status(self) -> Status | None:
        """The verdict's status, or None where nobody has looked yet."""
        return self.score.verdict.status if self.score and self.score.verdict else None

    @property
    def reward(self) -> float | None:
        return self.score.value if self.score else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A problem and its scored attempts: a row of a curated dataset and an online rollout group are the same record."""

    problem: Problem
    trajectories: tuple[Trajectory, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A trajectory with the algorithm's verdict on it.

    advantage  credit of the whole attempt, broadcast over its sampled tokens
    label      +1 imitate (chosen), -1 avoid (rejected)
    unit       rows of one unit (a pair) are never split over micro-batches; "" makes the row a unit of its own
    lesson     imitated beside the objective, with a total of its own
    source     which of the step's sources it came from; each source is normalised on its own totals
    """

    trajectory: Trajectory
    advantage: float = 0.0
    label: Literal[1, -1] = 1
    unit: str = ""
    lesson: bool = False
    source: str = ""
