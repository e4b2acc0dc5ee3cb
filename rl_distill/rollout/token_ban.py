"""Words that are never sampled: an automaton on token ids that knows which tokens would complete one of them.

A word may be spelled by many token sequences (" wait", "W" + "AIT", " w" + "ai" + "t,"), so the automaton follows the text that
the tokens spell. Its state is how much of each word the text ends with; a token that would complete a word is forbidden.

    "... a" --" w"--> wait: 1 of 4 --"ai"--> wait: 3 of 4 --"t", "t,", "t\\n" forbidden; "d" goes on--> nothing
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence, Set
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rl_distill.errors import InputError
from rl_distill.models.token_pieces import token_pieces
from rl_distill.rollout.word_spellings import LETTERS, Place, Spelled, Word, folded

_REMEMBERED = 2**16  # steps and states that are not computed again
Ids = NDArray[np.int64]


class BanState(NamedTuple):
    """Where a text stands.

    begun  (word, how far) that the text ends with
    last   what the last byte is
    """

    begun: tuple[tuple[int, Place], ...] = ()
    last: str = "border"  # or "letter", "space"


START = BanState()


class TokenBan:
    """Which tokens would complete a banned word or phrase.

    Whatever the tokens that spell it and however it is written (`word_spellings.Word`). A word is banned where no ASCII letter or
    digit stands before it: "wait" in "await" is free. As no one knows what will follow, the token that completes it is forbidden
    even where a longer word would have come of it ("but" + "ton"); a token that holds the longer word whole ("button") is free.

    Args:
        pieces: of the vocabulary, see `models.token_pieces`.
        banned: words and phrases.
    """

    def __init__(self, pieces: Sequence[bytes | None], banned: Sequence[str]) -> None:
        self._words = tuple(Word(text) for text in banned)
        self._pieces = [None if piece is None else folded(piece) for piece in pieces]
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
            token for token in self._whole_at_start if state.last != "letter" or (self._pieces[token] or b" ")[0] not in LETTERS
        )
        for index, place in state.begun:
            word = self._words[index]
            found.update(table.completing(word.missing(place), bordered=word.is_bordered[1]))
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
        begun = {(index, further) for index, place in state.begun for further in self._words[index].behind(place, piece)}
        for offset in range(len(piece)):
            free = piece[offset - 1] not in LETTERS if offset else state.last != "letter"
            begun.update(
                (index, further)
                for index, word in enumerate(self._words)
                if free or not word.is_bordered[0]
                for further in word.behind(Place(), piece[offset:])
            )
        last = "space" if piece.endswith(b" ") else "letter" if piece[-1] in LETTERS else "border"
        return BanState(tuple(sorted(begun)), last)

    def forbids_all(self) -> bool:
        """Whether no token that writes something may begin a text."""
        return len(self.forbidden(START)) == sum(bool(piece) for piece in self._pieces)

    def unspelled(self) -> list[str]:
        """Banned words that no tokens spell, so that their ban means nothing."""
        known = {piece for piece in self._pieces if piece}
        return [word.text for word in self._words if not _joined(word.plain, known) and not self._is_spelled(word, known)]

    def _is_spelled(self, word: Word, known: Set[bytes]) -> bool:
        """Looked for in every token and behind it, for words that no tokens make up from end to end."""
        whole = re.compile(word.pattern)
        places = {place for piece in known for at in range(len(piece)) for place in word.behind(Place(), piece[at:])}
        seen: set[Place] = set()
        while open_places := places - seen:
            seen |= open_places
            places |= {further for place in open_places for piece in known for further in word.behind(place, piece)}
        ends = (self._elsewhere.completing(word.missing(place), bordered=word.is_bordered[1]) for place in places)
        return any(ends) or any(whole.search(piece) for piece in known)

    def _whole(self) -> tuple[list[int], list[int]]:
        """Tokens that hold a whole banned word: behind a border of their own, and at their very start."""
        words = re.compile(b"|".join(word.pattern for word in self._words))
        known = [(token, piece) for token, piece in enumerate(self._pieces) if piece]
        return (
            [token for token, piece in known if words.search(piece, 1)],
            [token for token, piece in known if words.match(piece)],
        )


def checked_ban(pieces: Sequence[bytes | None], banned: Sequence[str]) -> TokenBan:
    """
    Raises:
        InputError: no tokens spell a word, or the ban would leave none to sample.
    """
    ban = TokenBan(pieces, banned)
    if unspelled := ban.unspelled():
        problem = f"holds {unspelled[0]!r}, which no tokens of the student's vocabulary spell, so that its ban would mean nothing"
        raise InputError("sampling.banned", problem, f"drop {' and '.join(map(repr, unspelled))}")
    if ban.forbids_all():
        problem = f"forbids every token of the student's vocabulary that writes something ({', '.join(banned[:3])}, ...)"
        raise InputError("sampling.banned", problem, "ban fewer words")
    return ban


def _joined(form: bytes, known: Set[bytes]) -> bool:
    """Whether tokens make up a word, or a word behind a space, from end to end."""
    for whole in (form, b" " + form):
        ends = [0]
        for end in range(1, len(whole) + 1):
            if any(whole[start:end] in known for start in ends):
                ends.append(end)
        if ends[-1] == len(whole):
            return True
    return False


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

    def completing(self, missing: Sequence[Spelled], *, bordered: bool) -> list[int]:
        """Tokens that begin with what is missing of a word, where the word ends at a border or at the end of the token."""
        return [
            token
            for start in self._starts(b"", missing)
            for key, token in self._beginning(start)
            if len(key) == len(start) or not bordered or key[len(start)] not in LETTERS
        ]

    def _starts(self, start: bytes, missing: Sequence[Spelled]) -> Iterator[bytes]:
        """The ways to write what is missing with which some token begins."""
        if not missing:
            yield start
            return
        for spelled in missing[0]:
            if self._any(start + spelled):
                yield from self._starts(start + spelled, missing[1:])

    def _range(self, start: bytes) -> tuple[int, int]:
        """Where the pieces stand that begin with some bytes."""
        if not start:
            return 0, len(self._keys)
        return bisect_left(self._keys, start), bisect_left(self._keys, start[:-1] + bytes([start[-1] + 1]))

    def _any(self, start: bytes) -> bool:
        low, high = self._range(start)
        return low < high

    def _beginning(self, start: bytes) -> Iterator[tuple[bytes, int]]:
        low, high = self._range(start)
        return zip(self._keys[low:high], self._tokens[low:high], strict=True)


class VocabularyBans:
    """The bans of one tokenizer; each is made once, and the vocabulary is read when there is one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._made: dict[tuple[str, ...], TokenBan] = {}

    @cached_property
    def pieces(self) -> tuple[bytes | None, ...]:
        return token_pieces(self._tokenizer)

    def ban(self, banned: tuple[str, ...]) -> TokenBan | None:
        """None where nothing is banned.

        Raises:
            InputError: no tokens spell a word, or the ban would leave none to sample.
        """
        if banned and banned not in self._made:
            self._made[banned] = checked_ban(self.pieces, banned)
        return self._made.get(banned)


def restricted(logits: Any, ban: TokenBan, state: BanState) -> Any:
    """The logits [V] of one row with -inf for what is forbidden, in place."""
    logits[torch.as_tensor(ban.forbidden(state), device=logits.device)] = -torch.inf
    return logits
