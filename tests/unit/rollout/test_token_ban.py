"""The automaton against a plain search in the text, on random texts in several kinds of vocabularies."""

import random
import re
from typing import Any

import pytest
import torch

from rl_distill.analysis.token_classes import Matcher
from rl_distill.models.token_pieces import token_pieces
from rl_distill.models.vocabulary import byte_bpe_tokenizer
from rl_distill.rollout.engine import Sampling
from rl_distill.rollout.token_ban import START, RowBans, TokenBan

TEXTS = [
    "wait, but the button awaits",
    "Try again: try\nagain. WAIT while it waits",
    "a well-known caf\u00e9 \u7b49\u7b49 \u2014 wait",
] * 20


@pytest.fixture(scope="module")
def bpe() -> Any:
    return byte_bpe_tokenizer(TEXTS, 320)


def spelled(ban: TokenBan, pieces: list[bytes]) -> int | None:
    """The place of the first piece that is forbidden."""
    state = START
    for place, piece in enumerate(pieces):
        token = VOCABULARY.index(piece)
        if token in ban.forbidden(state):
            return place
        state = ban.after(state, token)
    return None


VOCABULARY = [
    *(bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyzWAIT ,.\n"),
    *(
        b" wait",
        b"wait",
        b"Wait",
        b" but",
        b"ton",
        b" button",
        b"ait",
        b" w",
        b" again",
        b"again",
        b" try",
        b" wait,",
        b".\nWa",
        b"it ",
    ),
    *(b"awa", b"iting", b" ag", b"ain", b"\xe7\xad", b"\x89", b"\xe7", b"caf", b"\xc3", b"\xa9"),
]


@pytest.mark.parametrize(
    ("pieces", "place"),
    [
        ([b" wait"], 0),
        ([b"Wait"], 0),
        ([b"W", b"A", b"I", b"T"], 3),
        ([b" w", b"ait"], 1),
        ([b"a", b" w", b"a", b"i", b"t"], 4),
        ([b" wait,"], 0),
        ([b".\nWa", b"it "], 1),
        ([b"a", b"wait"], None),  # await
        ([b"a", b"w", b"ait"], None),
        ([b"awa", b"iting"], None),
        ([b" button"], None),
        ([b" try", b" again"], 1),
        ([b" try", b" ", b" ", b"again"], 3),
        ([b" try", b"\n", b" again"], 2),
        ([b" try", b" ag", b"ain"], 2),
        ([b" try", b",", b" again"], None),
        ([b"\xe7\xad", b"\x89", b"\xe7\xad", b"\x89"], 3),  # two characters cut into bytes
        ([b"caf", b"\xc3", b"\xa9"], 2),
    ],
)
def test_the_token_that_completes_a_banned_word_is_forbidden_however_it_is_spelled(
    pieces: list[bytes], place: int | None
) -> None:
    ban = TokenBan(VOCABULARY, ["wait", "try again", "\u7b49\u7b49", "Caf\u00e9"])
    assert spelled(ban, pieces) == place


def test_no_text_of_allowed_tokens_holds_a_banned_word(bpe: Any) -> None:
    banned = ["wait", "but", "try again", "caf\u00e9"]
    pieces = token_pieces(bpe)
    ban = TokenBan(pieces, banned)
    matcher = Matcher([("banned", text) for text in banned])
    draw = random.Random(0)
    for _ in range(300):
        state, text = START, b""
        for _ in range(40):
            # Tokens of banned words come often, so that they would be spelled out.
            source = (
                bpe.encode(draw.choice(["wait", " but", " try", " again", "Wait", "caf\u00e9", " "]))
                if draw.random() < 0.7
                else []
            )
            token = draw.choice(source) if source else draw.randrange(len(pieces))
            if pieces[token] is None or token in ban.forbidden(state):
                continue
            state, text = ban.after(state, token), text + pieces[token]
        assert not list(matcher.find(text.decode(errors="replace"))), text


def test_what_is_forbidden_would_have_completed_a_word(bpe: Any) -> None:
    pieces = token_pieces(bpe)
    ban = TokenBan(pieces, ["wait", "try again"])
    word = re.compile(rb"(?<![a-z0-9])(wait|try again)", re.IGNORECASE)
    draw = random.Random(1)
    for _ in range(200):
        ids = bpe.encode(draw.choice(TEXTS))[: draw.randrange(12)]
        state = START
        for token in ids:
            state = ban.after(state, token)
        before = b"".join(pieces[token] for token in ids)
        for token in ban.forbidden(state).tolist():
            whole = re.sub(rb"\s+", b" ", before + pieces[token])
            assert any(found.end() > len(re.sub(rb"\s+", b" ", before).rstrip()) for found in word.finditer(whole)), whole


def test_special_tokens_are_never_forbidden_and_change_nothing(tokenizer: Any) -> None:
    pieces = token_pieces(tokenizer)
    ban = TokenBan(pieces, ["is", "end", "im_end"])
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ("is", "<|im_end|>", "1")}
    assert ban.forbidden(START).tolist() == [ids["is"]]
    behind = ban.after(START, ids["1"])
    assert ban.after(behind, ids["<|im_end|>"]) == behind != START


def test_pieces_join_to_the_text(tokenizer: Any, bpe: Any) -> None:
    for one, text in [(tokenizer, " 9 + 2 is 11 ; why ?"), *((bpe, text) for text in TEXTS[:3])]:
        pieces = token_pieces(one)
        assert b"".join(pieces[token] for token in one.encode(text, add_special_tokens=False)).decode() == text


def test_rows_without_a_ban_keep_their_logits_to_the_bit() -> None:
    ban = TokenBan(VOCABULARY, ["wait"])
    bans = RowBans([None, ban])
    logits = torch.randn(3, len(VOCABULARY))
    found = bans.restrict(logits, [1, 0, -1])
    assert torch.equal(found[1:], logits[1:])
    assert set((found[0] == -torch.inf).nonzero()[:, 0].tolist()) == set(ban.forbidden(START).tolist()) != set()
    assert RowBans([None]).restrict(logits, [0, 0, -1]) is logits


def test_a_blank_word_is_refused() -> None:
    with pytest.raises(ValueError, match="no word"):
        Sampling(banned=("wait", " "))
