"""One token of a server's answer: its id, and the most likely tokens in its place with what is left for all others."""

import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

LEAST_LOGPROB = -1000.0  # of a token that is possible; vLLM writes -9999 for one that is not
MASS_SLACK = 1e-3  # what probabilities may add up to beyond 1, for servers that round
LEAST_REST = 1e-6  # probability of all other tokens: less than that is lost to the rounding of the likely ones' float32 log-probs
DIGITS = 7  # behind the point of a kept log-prob: a server's float32 has no more, and rows are half as long

_TOKEN_ID = re.compile(r"token_id:(\d+)")


class Unusable(Exception):
    """An answer cannot be told token by token.

    reason  the rule that it fell under: a word, to be counted by
    detail  what was found
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class TokenIds:
    """The ids of a tokenizer, found by what servers write: "token_id:17", or a text that exactly one token has."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known = frozenset(tokenizer.get_vocab().values())

    def __len__(self) -> int:
        return len(self._known)

    def id_of(self, token: str) -> int:
        """
        Raises:
            Unusable: no token is meant, or it is not clear which.
        """
        found = named_id(token)
        if found is None:
            found = self._by_text.get(token)
        if found is None:
            raise Unusable("ambiguous_token", f"{token!r} is the text of no token, or of several")
        return self.checked(found)

    def checked(self, token_id: Any) -> int:
        """
        Raises:
            Unusable: it is no id of the tokenizer, as one of a padding row of a model's embedding.
        """
        if token_id not in self._known:
            raise Unusable("unknown_token", f"the tokenizer has no id {token_id!r}")
        return int(token_id)

    @cached_property
    def _by_text(self) -> Mapping[str, int]:
        """Texts that stand for one token each. Halves of a character, which are all written alike, are not among them."""
        found: dict[str, list[int]] = {}
        for token_id in sorted(self._known):
            found.setdefault(self._tokenizer.decode([token_id], skip_special_tokens=False), []).append(token_id)
        return {text: ids[0] for text, ids in found.items() if len(ids) == 1}


def named_id(token: str) -> int | None:
    """The id that vLLM's `return_tokens_as_token_ids` writes in place of a token's text; None for a text."""
    named = _TOKEN_ID.fullmatch(token)
    return int(named[1]) if named else None


def candidates_at(entry: Mapping[str, Any], sampled: int, ids: TokenIds, count: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The `count` most likely tokens in a token's place, the likeliest first, and their log-probs with that of the rest.

    The sampled token is a candidate like any other: where it is not among the most likely it is part of the rest. Of servers that
    count it among the alternatives in place of the least likely one (vLLM), and of those that do not (OpenAI), the `count` best
    are known if `count` + 1 alternatives were asked for.

    Args:
        entry: in the words of OpenAI's API: logprob, and top_logprobs with token and logprob.

    Raises:
        Unusable: they are too few, not all are known, or they are no distribution.
        KeyError, TypeError, ValueError: the entry is not made like that.
    """
    found = {sampled: float(entry["logprob"])}
    found |= {ids.id_of(other["token"]): float(other["logprob"]) for other in entry["top_logprobs"]}
    best = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:count]
    if len(best) < count:
        raise Unusable("too_few_alternatives", f"{len(best)} tokens where {count} are kept")
    logprobs = [logprob for _, logprob in best]
    if not all(logprob > LEAST_LOGPROB for logprob in logprobs):
        raise Unusable("cut_distribution", f"a likely token has the log-prob {logprobs[-1]:g}: the server cut its distribution")
    mass = math.fsum(map(math.exp, logprobs))
    if not mass <= 1 + MASS_SLACK:
        raise Unusable("no_distribution", f"{count} of its probabilities add up to {mass:g}")
    rest = math.log(max(1.0 - mass, LEAST_REST))
    return tuple(token for token, _ in best), tuple(round(logprob, DIGITS) for logprob in (*logprobs, rest))
