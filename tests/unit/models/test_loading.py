"""Models and tokenizers come back from disk as they were saved, and what cannot be used is refused."""

import pytest
import torch
from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from rl_distill.errors import InputError
from rl_distill.models.loading import Architecture, load_model, load_tokenizer, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer, byte_bpe_tokenizer
from rl_distill.text import encode_prompt, end_of_turn_ids
from rl_distill.trajectory import Message

SMALL = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=64)
PROMPT = (Message("user", "15 - 9 + 4 = ?"),)


@pytest.mark.parametrize(
    "tokenizer", [arithmetic_tokenizer(), byte_bpe_tokenizer(["15 - 9 + 4 = ? so 10"] * 9, 300)], ids=["words", "bytes"]
)
def test_a_saved_student_reads_text_as_it_did_in_training_also_through_auto_classes(tmp_path, tokenizer):
    save_pretrained(SMALL.build(tokenizer), tokenizer, tmp_path)
    expected = encode_prompt(tokenizer, PROMPT)
    assert encode_prompt(load_tokenizer(str(tmp_path)), PROMPT) == expected
    assert encode_prompt(AutoTokenizer.from_pretrained(tmp_path), PROMPT) == expected


def test_a_tokenizer_that_transformers_would_replace_is_loaded_as_saved(tmp_path):
    """transformers gives a folder of type qwen2 Qwen2's own tokenizer, whatever lies there."""
    tokenizer = arithmetic_tokenizer()
    settings = Qwen2Config(
        vocab_size=48, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    save_pretrained(Qwen2ForCausalLM(settings), tokenizer, tmp_path)
    assert encode_prompt(load_tokenizer(str(tmp_path)), PROMPT) == encode_prompt(tokenizer, PROMPT)


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    tokenizer = arithmetic_tokenizer()
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    first, second = SMALL.build(tokenizer), SMALL.build(tokenizer)
    assert torch.rand(1) == before
    other = Architecture(seed=1, hidden_size=16, intermediate_size=32, num_layers=1, max_context=64).build(tokenizer)
    key = "model.embed_tokens.weight"
    assert torch.equal(first.state_dict()[key], second.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_weights_survive_the_round_trip_to_the_bit(tmp_path):
    tokenizer = arithmetic_tokenizer()
    model = SMALL.build(tokenizer)
    save_pretrained(model, tokenizer, tmp_path)
    loaded = dict(load_model(str(tmp_path)).named_parameters())
    assert all(torch.equal(parameter, loaded[name]) for name, parameter in model.named_parameters())


def test_a_missing_folder_is_named():
    with pytest.raises(InputError, match=r"student.model: there is no folder '/nowhere/at-all'"):
        load_model("/nowhere/at-all")


def test_a_tokenizer_without_chat_template_is_refused(tmp_path):
    tokenizer = arithmetic_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no chat template"):
        load_tokenizer(str(tmp_path))


def test_a_model_that_caps_its_logits_is_refused(tmp_path):
    torch.manual_seed(0)
    settings = Gemma2Config(
        vocab_size=48, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, final_logit_softcapping=0.5, initializer_range=0.5,
    )  # fmt: skip
    Gemma2ForCausalLM(settings).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="changes its logits"):
        load_model(str(tmp_path))


def test_a_folder_that_lacks_weights_is_refused_rather_than_filled_with_random_ones(tmp_path):
    tokenizer = arithmetic_tokenizer()
    model = SMALL.build(tokenizer)
    model.config.tie_word_embeddings = False  # the head is saved nowhere: until now it was the embedding
    save_pretrained(model, tokenizer, tmp_path)
    with pytest.raises(InputError, match=r"lacks 1 of the model's weights, such as 'lm_head.weight', which would be random"):
        load_model(str(tmp_path))


def test_a_saved_student_names_the_tokens_that_end_its_turns(tmp_path):
    tokenizer = byte_bpe_tokenizer(["15 - 9 + 4 = ? so 10"] * 9, 300)
    model = SMALL.build(tokenizer)
    save_pretrained(model, tokenizer, tmp_path / "one")
    assert GenerationConfig.from_pretrained(tmp_path / "one").eos_token_id == tokenizer.eos_token_id
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_end|>"]})
    tokenizer.eos_token = "<|endoftext|>"
    save_pretrained(model, load_tokenizer(_saved(tokenizer, tmp_path / "two")), tmp_path / "two")
    assert GenerationConfig.from_pretrained(tmp_path / "two").eos_token_id == list(end_of_turn_ids(tokenizer))


def _saved(tokenizer, folder) -> str:
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_dropout_is_turned_off(tmp_path):
    settings = Qwen2Config(
        vocab_size=48,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        attention_dropout=0.3,
    )
    Qwen2ForCausalLM(settings).save_pretrained(tmp_path)
    model = load_model(str(tmp_path)).train()
    ids = torch.arange(12)[None]
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
