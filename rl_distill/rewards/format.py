"""Does the response have the shape that was asked for?"""

from collections.abc import Sequence
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.rewards.answers import boxed_answer
from rl_distill.rewards.base import Attempt, Reward

_OPEN, _CLOSE = "<think>", "</think>"


@config
class Format(Reward):
    r"""1 if the response is one `<think>...</think>` block followed by a non-empty `\boxed{...}`, else 0 (arXiv:2501.12948).

    It rewards the shape only; weigh it lightly, for rigid format rewards hold weak base models back (arXiv:2503.18892).
    """

    name: Literal["format"] = "format"
    think: Literal["block", "prefilled", "any"] = setting(
        "block",
        about="block: the response opens and closes one think block; prefilled: the prompt has opened it; any: not looked at",
    )
    boxed: bool = setting(True, about="demand a boxed answer after the thinking")

    def __post_init__(self) -> None:
        if self.think == "any" and not self.boxed:
            raise InputError("rewards.format", "demands nothing", "set `boxed: true` or `think: block`")

    @property
    def lowest(self) -> float:
        return 0.0

    def measure(self, attempts: Sequence[Attempt]) -> list[float | None]:
        return [float(self.well_formed(trajectory.response)) for _, trajectory in attempts]

    def well_formed(self, response: str) -> bool:
        """Whether the response has the demanded shape."""
        answer_part = self._after_thinking(response)
        return answer_part is not None and (not self.boxed or bool(boxed_answer(answer_part)))

    def _after_thinking(self, response: str) -> str | None:
        """What follows the think block; None if that is missing, doubled, unclosed or preceded by other text."""
        if self.think == "any":
            return response
        opened, closed = response.count(_OPEN), response.count(_CLOSE)
        if closed != 1 or opened != (1 if self.think == "block" else 0):
            return None
        if self.think == "block" and not response.lstrip().startswith(_OPEN):
            return None
        return response.partition(_CLOSE)[2]
