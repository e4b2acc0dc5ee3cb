"""Punishes text that goes round in circles."""

from collections.abc import Sequence
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.rewards.base import Attempt, Reward


@config
class Repetition(Reward):
    """Share of repeated n-grams, as a punishment in (-1, 0]: `distinct n-grams / n-grams - 1`.

    The n-gram repetition penalty of "Demystifying Long Chain-of-Thought Reasoning" (arXiv:2502.03373, appendix C.2), over
    lower-cased words so that it does not depend on a tokenizer. A response shorter than one n-gram repeats nothing: 0.
    """

    name: Literal["repetition"] = "repetition"
    ngram_words: int = setting(3, about="length of an n-gram", unit="words", source="open-r1 (n = 3)", ge=1)

    @property
    def lowest(self) -> float:
        return -1.0

    def measure(self, attempts: Sequence[Attempt]) -> list[float | None]:
        return [self.penalty(trajectory.response) for _, trajectory in attempts]

    def penalty(self, text: str) -> float:
        """The punishment of one text.

        Example:
            >>> Repetition(ngram_words=1).penalty("wait wait wait wait")
            -0.75
        """
        words = text.lower().split()
        ngrams = list(zip(*(words[offset:] for offset in range(self.ngram_words)), strict=False))
        return len(set(ngrams)) / len(ngrams) - 1.0 if ngrams else 0.0
