"""Whether models and a tokenizer mean the same by a token id: a wrong row of an embedding is no error, only wrong numbers."""

import hashlib
import json
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError
from rl_distill.models.loading import load_settings, saved_tokenizer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")


def check_rows(tokenizer: Any, settings: Any, *, field: str) -> None:
    """Every id of a tokenizer has a row in the embedding. Rows beyond that are padding, as in Qwen2.5, and do no harm.

    Args:
        settings: the model's configuration.
        field: the recipe key to name in an error.

    Raises:
        InputError: an id has no row.
    """
    rows, largest = settings.get_text_config().vocab_size, max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise InputError(
            field,
            f"it has embeddings for {rows} tokens, and the student's tokenizer has the id {largest} "
            f"({tokenizer.convert_ids_to_tokens(largest)!r})",
            "resize the model's embeddings and save it again, or take a tokenizer without added tokens",
        )


def vocabulary_digest(tokenizer: Any) -> str:
    """Names a vocabulary: tokenizers with the same digest mean the same by every id."""
    entries = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:16]


def check_scoring_model(tokenizer: Any, model: str, *, field: str) -> None:
    """A reference or teacher scores the student's token ids: it must have them all, with the meaning they have for the student.

    A folder without a tokenizer is taken at its size. A token that only pads may differ, since nothing is scored there.

    Args:
        field: "reference" or "teacher", the recipe key to name in an error.

    Raises:
        InputError: an id has no row in the model, or is another token there.
    """
    check_rows(tokenizer, load_settings(model, field=field), field=field)
    folder = Path(model).expanduser()
    if folder.is_dir() and not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return
    theirs = saved_tokenizer(model, field=field).get_vocab()
    ours = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    only_pads = None if tokenizer.pad_token == tokenizer.eos_token else tokenizer.pad_token
    for token, index in ours:
        if token != only_pads and theirs.get(token) != index:
            there = next((other for other, place in theirs.items() if place == index), None)
            raise InputError(
                field,
                f"{model!r} has another vocabulary than the student: id {index} is {token!r} to the student and "
                f"{'nothing' if there is None else repr(there)} there",
                f"take a {field} with the student's tokenizer",
            )
