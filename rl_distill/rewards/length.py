"""Rewards that look at how long a response is."""

from collections.abc import Sequence
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.rewards.base import Attempt, Reward


@config
class SoftOverlong(Reward):
    """DAPO's soft overlong punishment (arXiv:2503.14476, eq. 13), added to the accuracy.

    A response of L tokens gets 0 up to `max_tokens - cache_tokens`, then less in a straight line, -1 from `max_tokens` on.
    A trajectory without tokens (text that nobody tokenised) has no length, hence no reward (None).
    """

    name: Literal["soft_overlong"] = "soft_overlong"
    max_tokens: int = setting(20480, about="length that is punished in full", unit="tokens", source="arXiv:2503.14476", ge=1)
    cache_tokens: int = setting(4096, about="how long before that it starts", unit="tokens", source="arXiv:2503.14476", ge=1)

    def __post_init__(self) -> None:
        if self.cache_tokens > self.max_tokens:
            raise ValueError(
                f"cache_tokens is {self.cache_tokens}, more than max_tokens = {self.max_tokens}: give at most max_tokens"
            )

    @property
    def lowest(self) -> float:
        return -1.0

    def measure(self, attempts: Sequence[Attempt]) -> list[float | None]:
        return [self.penalty(len(trajectory.response_ids)) if trajectory.token_ids else None for _, trajectory in attempts]

    def penalty(self, num_tokens: int) -> float:
        """The punishment, in [-1, 0], of a response of this many tokens."""
        over = num_tokens - (self.max_tokens - self.cache_tokens)
        return -min(max(over / self.cache_tokens, 0.0), 1.0) + 0.0  # + 0.0 turns -0.0 into 0.0
