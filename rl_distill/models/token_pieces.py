"""What each token of a vocabulary adds to a text, in bytes: a token may be a part of a character."""

import re
from typing import Any

from rl_distill.text import PLACEHOLDER

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_HALF = "\N{REPLACEMENT CHARACTER}"


def token_pieces(tokenizer: Any) -> tuple[bytes | None, ...]:
    """By id, the bytes that a token adds behind another; None for special tokens and ids without a token.

    Read off the tokenizer's own decoding, so that spaces are where it writes them, whatever kind it is.
    """
    anchor = tokenizer.encode(PLACEHOLDER, add_special_tokens=False)[-1]
    before = tokenizer.decode([anchor])
    special = {*tokenizer.all_special_ids, *(key for key, token in tokenizer.added_tokens_decoder.items() if token.special)}
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    texts = tokenizer.batch_decode([[anchor, token] for token in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    return tuple(
        None if token in special or name is None else _piece(name, text.removeprefix(before))
        for token, (name, text) in enumerate(zip(names, texts, strict=True))
    )


def _piece(name: str, text: str) -> bytes:
    """The text of a token; where that is no whole character, the bytes that its name spells."""
    if _HALF not in text:
        return text.encode()
    if found := _BYTE_TOKEN.fullmatch(name):
        return bytes([int(found[1], 16)])
    alphabet = _byte_alphabet()
    return bytes(alphabet[letter] for letter in name) if all(letter in alphabet for letter in name) else text.encode()


def _byte_alphabet() -> dict[str, int]:
    """The letters with which byte-level BPE writes bytes: printable ones as they are, the others from U+0100 on (GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
