"""The automaton against a plain search in the text, on random texts in several kinds of vocabularies."""

import random
import re
from typing import Any

import pytest
import torch

from rl_distill.analysis.token_classes import Matcher
from rl_distill.errors import InputError
from rl_distill.models.token_pieces import token_pieces
from rl_distill.models.vocabulary import byte_bpe_tokenizer
from rl_distill.rollout.engine import Sampling
from rl_distill.rollout.token_ban import START, RowBans, TokenBan, VocabularyBans, checked_ban
from rl_distill.rollout.vllm_ban import BanRequests

TEXTS = [
    "wait, but the button awaits",
    "Try again: try\nagain. WAIT while it waits",
    "a well-known caf\u00e9 \u7b49\u7b49 \u2014 wait",
    "\u03c9\u03bc\u03ad\u03b3\u03b1 \u03a9\u039c\u0395\u0393\u0391 stra\u00dfe STRASSE double-check let\u2019s",
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


# Parts of words in cases that no list has, whole characters and accents of their own.
SPELLED = [
    *("\u03c9", "\u03a9\u03bc", "\u039c", "\u03ad", "\u0395\u0301", "\u0393", "\u03b3\u03b1", "\u0391", "stra", "STRA", "\u1e9e"),
    *("\u00df", "sS", "e", "E", "double", "Dou", "BLE", "-", "\u2010", "\u2011", "check", "let", "\u2019", "'", "s"),
]
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
    banned = ["wait", "but", "try again", "caf\u00e9", "\u03a9\u039c\u0388\u0393\u0391", "Stra\u00dfe", "double-check", "let's"]
    pieces = token_pieces(bpe)
    ban = TokenBan(pieces, banned)
    matcher = Matcher([("banned", text) for text in banned])
    draw = random.Random(0)
    for _ in range(600):
        state, text = START, b""
        for _ in range(40):
            # Tokens of banned words come often, so that they would be spelled out.
            source = (
                bpe.encode(draw.choice(["wait", " but", " try", " again", "Wait", "caf\u00e9", " ", *SPELLED]))
                if draw.random() < 0.7
                else []
            )
            token = draw.choice(source) if source else draw.randrange(len(pieces))
            if pieces[token] is None or token in ban.forbidden(state):
                continue
            state, text = ban.after(state, token), text + pieces[token]
        assert not list(matcher.find(text.decode(errors="replace"))), text


@pytest.mark.parametrize(
    ("banned", "written"),
    [
        ("wait", ["Wait", "WAIT", "wAiT", "wait-", " wait-and"]),
        (
            "\u03a9\u039c\u0395\u0393\u0391",
            ["\u03c9\u03bc\u03b5\u03b3\u03b1", "\u03a9\u03bc\u03b5\u03b3\u03b1", "\u03c9\u039c\u03b5\u0393\u03b1"],
        ),
        ("\u0441\u0442\u043e\u0439", ["\u0421\u0442\u043e\u0439", "\u0441\u0422\u043e\u0419", "\u0441\u0442\u043e\u0438\u0306"]),
        ("\u03c3\u03bf\u03c6\u03cc\u03c2", ["\u03a3\u039f\u03a6\u038c\u03a3", "\u03c3\u03bf\u03c6\u03cc\u03c3"]),
        ("stra\u00dfe", ["STRASSE", "Strasse", "STRA\u1e9eE"]),
        (
            "double-check",
            ["Double-Check", "double\u2010check", "double\u2011check", "doublecheck", "double check", "double\n check"],
        ),
        ("step by step", ["step-by-step", "Step by-step"]),
        ("let's", ["let\u2019s", "LET'S"]),
        ("10-5", ["10-5", "10\u20115"]),
    ],
)
def test_a_word_is_banned_however_it_is_written_byte_by_byte_and_in_one_token(banned: str, written: list[str]) -> None:
    every_byte = [bytes([byte]) for byte in range(256)]
    for one in written:
        assert _place(TokenBan(every_byte, [banned]), one.encode()) is not None, one
        assert TokenBan([one.encode(), b"x"], [banned]).forbidden(START).tolist() == [0], one


@pytest.mark.parametrize(
    ("banned", "written"),
    [
        ("may be", "maybe"),
        ("10-5", "10 5"),
        ("10-5", "105"),
        ("a-b", "a - b"),
        ("-", "a b"),
        ("let's", "lets"),
        ("wait", "w-ait"),
    ],
)
def test_what_is_another_word_is_free(banned: str, written: str) -> None:
    assert _place(TokenBan([bytes([byte]) for byte in range(256)], [banned]), written.encode()) is None


def _place(ban: TokenBan, text: bytes) -> int | None:
    """The first byte that is forbidden, in a vocabulary of bytes."""
    state = START
    for place, byte in enumerate(text):
        if byte in ban.forbidden(state):
            return place
        state = ban.after(state, byte)
    return None


@pytest.mark.parametrize(
    ("pieces", "banned", "words"),
    [
        ([b" a", b" is", b"wa"], ("is", "wait"), "holds 'wait', which no tokens"),
        ([b"wa", b"i", b" a"], ("wait",), "holds 'wait', which no tokens"),
        ([b"\xe7", b"a"], ("\u7b49",), "holds '\u7b49', which no tokens"),
        ([None, b" is", b"7", b"", b"is"], ("is", "7"), "forbids every token"),
    ],
)
def test_a_word_that_cannot_be_banned_is_refused(pieces, banned, words) -> None:
    with pytest.raises(InputError, match=f"sampling.banned: {words}"):
        checked_ban(pieces, banned)


@pytest.mark.parametrize(
    ("pieces", "banned"),
    [
        ([b"x", b"wait"], "wait"),
        ([b"x", b" wait"], "wait"),
        ([b"x", b"WA", b"IT"], "wait"),
        ([b"x", b". Wa", b"it,"], "wait"),
        ([b"x", b"oh wait, no"], "wait"),
        ([b"x", b"\xce", b"\xa9", b"\xce\x9c"], "\u03c9\u03bc"),
        ([b"x", b"double", b" check"], "double-check"),
    ],
)
def test_a_word_that_some_tokens_spell_is_not_refused(pieces, banned) -> None:
    assert checked_ban(pieces, [banned]).unspelled() == []


def test_both_engines_refuse_alike(tokenizer: Any) -> None:
    bans, requests = VocabularyBans(tokenizer), BanRequests(tokenizer)
    for refuse in (bans.ban, requests.arguments):
        with pytest.raises(InputError, match="'wait', which no tokens"):
            refuse(("is", "wait"))
    assert requests.arguments(()) is None and requests.arguments(("is",)) is not None
    requests.close()


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
