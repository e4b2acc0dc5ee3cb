"""Tokenizers made on the spot: words for the arithmetic micro-world, byte-level BPE for a tiny model on real text."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rl_distill.text import CHATML_TEMPLATE

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

ARITHMETIC_PAD = "<pad>"
BYTE_BPE_PAD = "<|endoftext|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"

_MARKS = ("<think>", "</think>", "\\boxed{", "}", "+", "-", "=", ";", "?", ".", ":", "<", ">")
_WORDS = ("user", "assistant", "why", "undo", "after", "first", "is", "carry", "borrow", "plain", "yes", "no")
_NUMBERS = tuple(str(number) for number in range(20))
ARITHMETIC_TOKENS = (ARITHMETIC_PAD, TURN_START, TURN_END, *_WORDS, *_MARKS, *_NUMBERS)

_BYTES = 256


def arithmetic_tokenizer() -> "PreTrainedTokenizerFast":
    """The word-level tokenizer of the `arithmetic` problems: 48 tokens, each number from 0 to 19 one of them.

    White space carries nothing. Decoding writes one space between tokens, none inside `\\boxed{6}`: the spelling of the
    problems, so that `decode(encode(text)) == text`. Text outside the 48 tokens (a system turn, the number 20) raises an
    exception of the tokenizers library.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(ARITHMETIC_TOKENS)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\s+"), "removed"), pre_tokenizers.Split(Regex(_arithmetic_pattern()), "isolated")]
    )
    # The WordPiece decoder is only used to write spaces: no token begins with its continuation prefix.
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace("\\boxed{ ", "\\boxed{"),
            decoders.Replace(" }", "}"),
        ]
    )
    return _chat_tokenizer(tokenizer, pad=ARITHMETIC_PAD)


def byte_bpe_tokenizer(texts: Iterable[str], vocab_size: int) -> "PreTrainedTokenizerFast":
    """A byte-level BPE tokenizer trained on `texts`: the same texts in the same order give the same tokens.

    Any text has an encoding and comes back unchanged. Digits and newlines are tokens of their own: digits so that numbers are
    read place by place, newlines so that one which begins a response cannot merge with the template's into another token.

    Args:
        texts: the training texts; read once.
        vocab_size: tokens at most, the 256 bytes and 3 special ones included; few texts may not hold so many merges.

    Raises:
        ValueError: `vocab_size` is below 259.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    special = [BYTE_BPE_PAD, TURN_START, TURN_END]
    if vocab_size < _BYTES + len(special):
        raise ValueError(f"vocab_size: {vocab_size} leaves no room for every byte; give at least {_BYTES + len(special)}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\n|\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _chat_tokenizer(tokenizer, pad=BYTE_BPE_PAD)


def _arithmetic_pattern() -> str:
    """Any ordinary token, longer ones first; digits that are no number of the world match nothing, rather than two numbers."""
    by_length = sorted((*_WORDS, *_MARKS), key=len, reverse=True)
    return "|".join([r"(?<!\d)(?:1\d|\d)(?!\d)", *map(re.escape, by_length)])


def _chat_tokenizer(tokenizer: "Tokenizer", *, pad: str) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        eos_token=TURN_END,
        additional_special_tokens=[TURN_START],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHATML_TEMPLATE
    return wrapped
