"""The engine protocol: what samples from a policy, wherever it lives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rl_distill.config import config, setting
from rl_distill.errors import RunError
from rl_distill.models.weights import WeightUpdate
from rl_distill.trajectory import Message, Trajectory


@config
class Sampling:
    """How tokens are drawn. Log-probs are reported under exactly this distribution."""

    temperature: float = setting(1.0, about="softmax temperature; 0 takes the most likely token", source="arXiv:2501.12948", ge=0)
    top_p: float = setting(
        1.0, about="nucleus mass; below 1 only for evaluation, since training ratios would be wrong", gt=0, le=1
    )
    max_tokens: int = setting(512, about="longest response", unit="tokens", ge=1)
    stop_tokens: tuple[str, ...] = setting((), about="further tokens that end a response, beside the tokenizer's end of turn")

    def __post_init__(self) -> None:
        if self.temperature == 0 and self.top_p < 1:
            raise ValueError("top_p has no effect at temperature 0: drop it, or sample above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One attempt to be sampled. The result is a function of this record, the weights and the shard it travels in."""

    problem_id: str
    messages: tuple[Message, ...]
    token_ids: tuple[int, ...]  # the prompt, rendered and tokenised once
    sampling: Sampling
    seed: int


def load_checked(engine: "Engine", update: WeightUpdate) -> None:
    """Bring weights into an engine.

    Raises:
        RunError: what the engine holds afterwards is not what the learner published.
    """
    digest = engine.load_weights(update)
    if digest != update.digest:
        raise RunError(
            f"the engine holds other weights than the learner published as version {update.version}: "
            f"digest {digest} is not {update.digest}"
        )


def generate_checked(engine: "Engine", requests: Sequence[Request]) -> list[Trajectory]:
    """Sample, and see that every request was answered.

    Raises:
        RunError: there is not one trajectory for each request, in order: a dead engine must not look like a small step.
    """
    attempts = engine.generate(requests)
    if [(attempt.problem_id, attempt.seed) for attempt in attempts] != [(asked.problem_id, asked.seed) for asked in requests]:
        raise RunError(f"the engine was asked for {len(requests)} attempts and gave {len(attempts)}, or not these")
    return attempts


class Engine(Protocol):
    version: int

    def generate(self, requests: Sequence[Request]) -> list[Trajectory]:
        """One unscored trajectory for each request, in order, with token ids, behavior log-probs and policy versions."""
        ...

    def load_weights(self, update: WeightUpdate) -> str:
        """Take over new weights; returns the digest of what is now loaded."""
        ...
