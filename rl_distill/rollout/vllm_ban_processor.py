"""Banned words inside vLLM: the automaton of `token_ban` as a logits processor, which runs before temperature and top_p."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from rl_distill.rollout.token_ban import START, TokenBan, restricted
from rl_distill.rollout.vllm_ban import BANNED, PIECES, read_pieces


class BannedWords(AdapterLogitsProcessor):
    """Forbids what a request's extra arguments name: the words, and the file with the pieces of the vocabulary."""

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> Callable[[Sequence[int], Tensor], Tensor] | None:
        """vLLM calls what this returns with the tokens sampled so far and the logits [V] of the next one."""
        asked: dict[str, Any] = params.extra_args or {}
        return _Row(_ban(asked[PIECES], tuple(asked[BANNED]))).restrict if BANNED in asked else None


class _Row:
    """One request. After a pause vLLM makes a new one, which reads all tokens again."""

    def __init__(self, ban: TokenBan) -> None:
        self._ban, self._state, self._read = ban, START, 0

    def restrict(self, sampled: Sequence[int], logits: Tensor) -> Tensor:
        for token in sampled[self._read :]:
            self._state = self._ban.after(self._state, token)
        self._read = len(sampled)
        restricted(logits, self._ban, self._state)
        return logits


@cache
def _ban(path: str, banned: tuple[str, ...]) -> TokenBan:
    return TokenBan(read_pieces(path), banned)
