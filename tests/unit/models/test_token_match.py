"""Models and tokenizers that mean the same by an id, and those that do not."""

import pytest
from transformers import LlamaConfig

from rl_distill.errors import InputError
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.token_match import check_rows, check_scoring_model
from rl_distill.models.vocabulary import arithmetic_tokenizer

SMALL = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=64)


def test_spare_rows_are_fine_and_a_missing_one_is_not():
    for rows in (48, 64):
        check_rows(arithmetic_tokenizer(), LlamaConfig(vocab_size=rows), field="reference")
    with pytest.raises(InputError, match=r"reference: it has embeddings for 47 tokens, and .* tokenizer has the id 47"):
        check_rows(arithmetic_tokenizer(), LlamaConfig(vocab_size=47), field="reference")


def reference(folder, change) -> str:
    """A model with spare rows whose tokenizer has been changed."""
    tokenizer = arithmetic_tokenizer()
    model = SMALL.build(tokenizer)
    model.resize_token_embeddings(64)
    change(tokenizer)
    save_pretrained(model, tokenizer, folder)
    return str(folder)


def test_a_reference_may_have_tokens_of_its_own(tmp_path):
    check_scoring_model(
        arithmetic_tokenizer(), reference(tmp_path, lambda tokenizer: tokenizer.add_tokens(["<tool>"])), field="reference"
    )


def test_a_token_that_the_reference_lacks_is_refused_unless_it_only_pads(tmp_path):
    plain = reference(tmp_path, lambda tokenizer: None)
    padding = arithmetic_tokenizer()
    padding.add_special_tokens({"pad_token": "[PAD]"})
    check_scoring_model(padding, plain, field="reference")
    padding.add_tokens(["<tool>"])
    with pytest.raises(InputError, match=r"reference: .* id 49 is '<tool>' to the student and nothing there"):
        check_scoring_model(padding, plain, field="reference")


def test_a_pad_token_that_is_eos_too_must_be_the_same(tmp_path):
    student = arithmetic_tokenizer()
    student.add_special_tokens({"eos_token": "</s>"})
    student.pad_token = "</s>"
    with pytest.raises(InputError, match="id 48 is '</s>' to the student and nothing there"):
        check_scoring_model(student, reference(tmp_path, lambda tokenizer: None), field="reference")
