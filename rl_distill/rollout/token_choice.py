"""Drawing one token per row: uniforms that have an address, and the inverse of each row's own distribution."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NUCLEUS_HEAD = 1024  # most likely tokens that are tried before a whole vocabulary is sorted


def stream_keys(seeds: Sequence[int]) -> NDArray[np.uint64]:
    """The starting state [B] of each seed's stream of uniforms."""
    return _mix(np.array([seed % 2**64 for seed in seeds], dtype=np.uint64) + _GOLDEN)


def uniforms(keys: NDArray[np.uint64], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """The uniform in (0, 1) of each stream [B] at a position [B]: SplitMix64 (Steele et al. 2014) moved there at once.

    A function of seed and position alone, so a row draws the same numbers whoever its neighbors are.
    """
    bits = _mix(keys + (positions.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    # 51 bits: the largest value stays below 1 by a full unit of precision, so that value * total < total in float64
    return ((bits >> np.uint64(13)).astype(np.float64) + 0.5) * 2.0**-51


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


class TokenChoice:
    """How each row of a batch draws its next token; built whenever the rows change, used for every token until then.

    The distribution of a row is softmax(logits / temperature), cut to its nucleus and renormalized where top_p < 1. The nucleus
    is the smallest set of most likely tokens whose mass reaches top_p, with all tokens that tie with its last member, so that
    it does not depend on how a sort breaks ties. At temperature 0 the distribution is all on the most likely token and its
    log-prob is 0.

    Tokens are laid out on [0, 1) in the order of their ids. Rounding in the logits moves the borders between them, and a token
    flips when a border crosses its uniform. Measured with noise s on every logit: about 3 s flips per token for 48 tokens of
    vocabulary, where descending order has 1-6 s and a Gumbel race 0.3 s; for 152,000 tokens and a wide distribution 300-1,900 s,
    descending order 150-15,000 s. Id order needs no sort, which for 152,000 tokens would take longer than the model.
    """

    def __init__(self, temperature: NDArray[np.float64], top_p: NDArray[np.float64], device: torch.device) -> None:
        greedy = temperature == 0
        divisor = np.where(greedy, 1.0, temperature)
        nucleus = (top_p < 1) & ~greedy

        def column(values: NDArray[np.generic], used: bool) -> Tensor | None:
            return torch.as_tensor(values, device=device)[:, None] if used else None  # [B, 1]

        self._all_greedy = bool(greedy.all())
        self._greedy = column(greedy, bool(greedy.any()))
        self._temperature = column(divisor.astype(np.float32), bool((divisor != 1).any()))
        self._top_p = column(np.where(nucleus, top_p, np.inf), bool(nucleus.any()))

    def draw(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B] int64 and their log-probs [B] float32 from logits [B, V] of any float type and uniforms [B] float64."""
        if self._all_greedy:
            return logits.argmax(-1), logits.new_zeros(len(logits), dtype=torch.float32)
        logits = logits.float()
        scaled = logits if self._temperature is None else logits / self._temperature
        logprobs = torch.log_softmax(scaled, -1)
        if self._top_p is not None:
            logprobs = torch.log_softmax(logprobs.masked_fill(~in_nucleus(logprobs, self._top_p), -torch.inf), -1)
        tokens = _inverse(logprobs.exp(), uniform)
        chosen = logprobs.gather(1, tokens)
        if self._greedy is not None:
            tokens = torch.where(self._greedy, logits.argmax(-1, keepdim=True), tokens)
            chosen = chosen.masked_fill(self._greedy, 0.0)
        return tokens[:, 0], chosen[:, 0]


def _inverse(probs: Tensor, uniform: Tensor) -> Tensor:
    """The token [B, 1] whose stretch of the cumulative distribution, in float64, holds the uniform; its probability is not 0."""
    cumulative = probs.cumsum(-1, dtype=torch.float64)  # [B, V]
    tokens = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    return tokens.clamp_(max=probs.shape[1] - 1)  # beyond the end only where probabilities are NaN


def in_nucleus(logprobs: Tensor, top_p: Tensor) -> Tensor:
    """True [B, V] for the tokens that top_p [B, 1] keeps; a top_p of 1 or more keeps all."""
    whole = top_p >= 1
    size = min(_NUCLEUS_HEAD, logprobs.shape[1])
    head = logprobs.topk(size).values  # [B, size], descending
    if size < logprobs.shape[1] and bool((~whole & (head.exp().sum(-1, keepdim=True, dtype=torch.float64) < top_p)).any()):
        head = logprobs.sort(-1, descending=True).values
    mass = head.double().exp()
    before = mass.cumsum(-1) - mass
    last = (before < top_p).sum(-1, keepdim=True) - 1
    return whole | (logprobs >= head.gather(1, last))
