"""Words that are never sampled: an automaton on token ids that knows which tokens would complete one of them.

A word may be spelled by many token sequences (" wait", "W" + "AIT", " w" + "ai" + "t,"), so the automaton follows the text that
the tokens spell. Its state is how much of each word the text ends with; a token that would complete a word is forbidden.

    "... a" --" w"--> wait: 1 of 4 --"ai"--> wait: 3 of 4 --"t", "t,", "t\\n" forbidden; "d" goes on--> nothing
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rl_distill.models.token_pieces import token_pieces

# White space of Unicode in UTF-8, as far as one token holds a character of it.
_SPACES = re.compile(rb"(?:[\s\x1c-\x1f]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)+")
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")  # of lower-cased ASCII; what is beyond ASCII is a border
_REMEMBERED = 2**16  # steps and states that are not computed again
Ids = NDArray[np.int64]


class BanState(NamedTuple):
    """Where a text stands.

    begun  (form, bytes of it) that the text ends with
    last   what the last byte is
    """

    begun: tuple[tuple[int, int], ...] = ()
    last: str = "border"  # or "letter", "space"


START = BanState()


class TokenBan:
    """Which tokens would complete a banned word or phrase.

    Whatever its case, its white space and the tokens that spell it. A word is banned where no ASCII letter or digit stands before
    it: "wait" in "await" is free. As no one knows what will follow, the token that completes it is forbidden even where a longer
    word would have come of it ("but" + "ton"); a token that holds the longer word whole ("button") is free.

    Args:
        pieces: of the vocabulary, see `models.token_pieces`.
        banned: words and phrases.
    """

    def __init__(self, pieces: Sequence[bytes | None], banned: Sequence[str]) -> None:
        self._forms = sorted({form for text in banned for form in _forms(text)})
        self._pieces = [None if piece is None else _folded(piece) for piece in pieces]
        self._after_space = _Sorted(self._pieces, strip=True)
        self._elsewhere = _Sorted(self._pieces, strip=False)
        self._whole_inside, self._whole_at_start = self._whole()
        self.after = lru_cache(_REMEMBERED)(self._after)
        self.forbidden = lru_cache(_REMEMBERED)(self._forbidden)

    def _forbidden(self, state: BanState) -> Ids:
        """Ids of the tokens that would complete a banned word, ascending."""
        table = self._after_space if state.last == "space" else self._elsewhere
        found = set(self._whole_inside)
        found.update(
            token for token in self._whole_at_start if state.last != "letter" or (self._pieces[token] or b" ")[0] not in _LETTERS
        )
        for form, count in state.begun:
            found.update(table.completing(self._forms[form][count:]))
        return np.array(sorted(found), dtype=np.int64)

    def _after(self, state: BanState, token: int) -> BanState:
        """The state behind a token."""
        piece = self._pieces[token] if token < len(self._pieces) else None
        if piece is None:
            return state  # a special token is no part of the text, see `text.decode`
        if state.last == "space":
            piece = piece.lstrip(b" ")
        if not piece:
            return state
        begun = {(form, count + len(piece)) for form, count in state.begun if _continues(self._forms[form][count:], piece)}
        for offset in range(len(piece)):
            free = piece[offset - 1] not in _LETTERS if offset else state.last != "letter"
            rest = piece[offset:]
            begun.update(
                (place, len(rest))
                for place, form in enumerate(self._forms)
                if (free or form[0] not in _LETTERS) and _continues(form, rest)
            )
        last = "space" if piece.endswith(b" ") else "letter" if piece[-1] in _LETTERS else "border"
        return BanState(tuple(sorted(begun)), last)

    def _whole(self) -> tuple[list[int], list[int]]:
        """Tokens that hold a whole banned word: behind a border of their own, and at their very start."""
        words = re.compile(b"|".join(map(_bordered, self._forms)))
        known = [(token, piece) for token, piece in enumerate(self._pieces) if piece]
        return (
            [token for token, piece in known if words.search(piece, 1)],
            [token for token, piece in known if words.match(piece)],
        )


class RowBans:
    """The bans of requests that are decoded together; `bans[i]` is that of request i, if it has one."""

    def __init__(self, bans: Sequence[TokenBan | None]) -> None:
        self._bans = {request: ban for request, ban in enumerate(bans) if ban is not None}
        self._states = dict.fromkeys(self._bans, START)

    def restrict(self, logits: torch.Tensor, owners: Sequence[int]) -> torch.Tensor:
        """Logits [R, V] with -inf for what the row's request must not sample; `owners` [R] are requests, -1 for nobody."""
        if not self._bans:
            return logits
        taken = [(row, owner) for row, owner in enumerate(owners) if owner in self._bans]
        if not taken:
            return logits
        ids = [self._bans[owner].forbidden(self._states[owner]) for _, owner in taken]
        rows = np.repeat([row for row, _ in taken], [len(some) for some in ids])
        logits = logits.clone()
        logits[torch.as_tensor(rows), torch.as_tensor(np.concatenate(ids))] = -torch.inf
        return logits

    def advance(self, owners: Sequence[int], tokens: Sequence[int]) -> None:
        """What each row sampled."""
        if self._bans:
            for owner, token in zip(owners, tokens, strict=True):
                if owner in self._bans:
                    self._states[owner] = self._bans[owner].after(self._states[owner], token)


class _Sorted:
    """Folded pieces in order, to find those that begin with some bytes."""

    def __init__(self, pieces: Sequence[bytes | None], *, strip: bool) -> None:
        pairs = sorted((piece.lstrip(b" ") if strip else piece, token) for token, piece in enumerate(pieces) if piece)
        self._keys, self._tokens = [piece for piece, _ in pairs], [token for _, token in pairs]

    def completing(self, rest: bytes) -> list[int]:
        """Tokens that begin with what is missing of a word, where the word ends at a border or at the end of the token."""
        low = bisect_left(self._keys, rest)
        high = bisect_left(self._keys, rest[:-1] + bytes([rest[-1] + 1]))
        size, bordered = len(rest), rest[-1] in _LETTERS
        return [
            token
            for key, token in zip(self._keys[low:high], self._tokens[low:high], strict=True)
            if len(key) == size or not bordered or key[size] not in _LETTERS
        ]


class VocabularyBans:
    """The bans of one tokenizer; each is made once, and the vocabulary is read when there is one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._made: dict[tuple[str, ...], TokenBan] = {}

    @cached_property
    def pieces(self) -> tuple[bytes | None, ...]:
        return token_pieces(self._tokenizer)

    def ban(self, banned: tuple[str, ...]) -> TokenBan | None:
        """None where nothing is banned."""
        if banned and banned not in self._made:
            self._made[banned] = TokenBan(self.pieces, banned)
        return self._made.get(banned)


def _forms(text: str) -> set[bytes]:
    """The spellings of a word that folding ASCII alone leaves apart, in UTF-8."""
    plain = " ".join(text.split())
    cases = {plain, plain.lower(), plain.upper(), plain.capitalize(), plain.title()}
    marks = {form.replace("'", mark).replace("\u2019", mark) for form in cases for mark in ("'", "\u2019")}
    return {_folded(unicodedata.normalize(kind, form).encode()) for form in marks for kind in ("NFC", "NFD")}


def _folded(piece: bytes) -> bytes:
    return _SPACES.sub(b" ", piece).lower()


def _continues(form: bytes, piece: bytes) -> bool:
    """Whether a piece is a part of what is still missing, and not all of it."""
    return len(piece) < len(form) and form.startswith(piece)


def _bordered(form: bytes) -> bytes:
    letters = rb"[a-z0-9]"
    before = rb"(?<!%b)" % letters if form[0] in _LETTERS else b""
    behind = rb"(?!%b)" % letters if form[-1] in _LETTERS else b""
    return before + re.escape(form) + behind


def restricted(logits: Any, ban: TokenBan, state: BanState) -> Any:
    """The logits [V] of one row with -inf for what is forbidden, in place."""
    logits[torch.as_tensor(ban.forbidden(state), device=logits.device)] = -torch.inf
    return logits
