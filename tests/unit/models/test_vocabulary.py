"""The tokenizers made on the spot: nothing is lost between text and tokens, the student's own tokens can be told apart."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rl_distill.models.vocabulary import ARITHMETIC_TOKENS, arithmetic_tokenizer, byte_bpe_tokenizer
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.text import CHATML_TEMPLATE, decode, encode_conversation, encode_prompt
from rl_distill.trajectory import Message

TEXTS = ["Natalia sold 48 clips.\nShe sold 24 more: 48+24 = 72.\n\\boxed{72}", "<think> twelve and 12 </think> são ½"] * 20
REPLY = "<think> 15 - 9 = 6 ; 6 + 4 = 10 </think> \\boxed{10}"
DIALOGUE = (
    Message("user", "why 15 - 9 = 6 ?"),
    Message("assistant", "<think> 5 < 9 </think> \\boxed{borrow}"),
    Message("user", "15 - 9 + 4 = ?"),
    Message("assistant", REPLY),
)


@cache
def tokenizer(name: str) -> Any:
    return arithmetic_tokenizer() if name == "arithmetic" else byte_bpe_tokenizer(TEXTS, 320)


both = pytest.mark.parametrize("name", ["arithmetic", "byte_bpe"])


def test_the_arithmetic_prompt_is_a_chatml_turn_with_one_token_for_each_number() -> None:
    ids = encode_prompt(tokenizer("arithmetic"), DIALOGUE[2:3])
    expected = ["<|im_start|>", "user", "15", "-", "9", "+", "4", "=", "?", "<|im_end|>", "<|im_start|>", "assistant"]
    assert tokenizer("arithmetic").convert_ids_to_tokens(ids) == expected


def test_the_arithmetic_vocabulary_has_48_tokens_and_three_special_ones() -> None:
    assert len(tokenizer("arithmetic")) == len(set(ARITHMETIC_TOKENS)) == 48
    assert set(tokenizer("arithmetic").all_special_tokens) == {"<pad>", "<|im_start|>", "<|im_end|>"}


def test_every_text_of_the_micro_world_comes_back_from_its_tokens() -> None:
    for group in Arithmetic(attempts="corpus", num_problems=500).groups():
        for turn in group.trajectories[0].messages:
            ids = tokenizer("arithmetic").encode(turn.content, add_special_tokens=False)
            assert decode(tokenizer("arithmetic"), ids) == turn.content


@given(st.lists(st.integers(3, 47), max_size=30))
@settings(max_examples=200, deadline=None)
def test_whatever_a_student_samples_comes_back_as_the_same_tokens(ids: list[int]) -> None:
    text = decode(tokenizer("arithmetic"), ids)
    assert tokenizer("arithmetic").encode(text, add_special_tokens=False) == ids


def test_white_space_carries_nothing_in_the_micro_world() -> None:
    words = tokenizer("arithmetic")
    assert words.encode("<think>15-9=6</think>\\boxed{6}") == words.encode("<think> 15  - 9 = 6\n</think> \\boxed{ 6 }")


@pytest.mark.parametrize("text", ["20 + 3 = ?", "115 - 3", "hello", "15 * 3"])
def test_text_outside_the_micro_world_is_an_error_not_another_text(text: str) -> None:
    with pytest.raises(Exception, match="UNK"):
        tokenizer("arithmetic").encode(text)


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_from_byte_bpe(text: str) -> None:
    ids = tokenizer("byte_bpe").encode(text, add_special_tokens=False)
    assert tokenizer("byte_bpe").decode(ids) == text


def test_byte_bpe_learns_merges_and_keeps_digits_and_newlines_apart() -> None:
    tokens = tokenizer("byte_bpe").tokenize("Natalia sold 48\n\n\nclips.")
    assert len(tokens) < len("Natalia sold 48\n\n\nclips.") - 6
    assert {"4", "8", "Ċ"} <= set(tokens) and not any(len(token) > 1 and "Ċ" in token for token in tokens)


def test_the_same_texts_give_the_same_byte_bpe() -> None:
    first, second = (byte_bpe_tokenizer(iter(TEXTS), 300) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert len(first) == 300


def test_a_vocabulary_without_room_for_every_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="vocab_size: 258.*259"):
        byte_bpe_tokenizer(TEXTS, 258)


def test_the_ends_and_the_padding_are_tokens_of_their_own() -> None:
    for name, pad in (("arithmetic", "<pad>"), ("byte_bpe", "<|endoftext|>")):
        assert (tokenizer(name).eos_token, tokenizer(name).pad_token) == ("<|im_end|>", pad)
        assert tokenizer(name).eos_token_id != tokenizer(name).pad_token_id


@both
def test_a_saved_tokenizer_is_the_same_when_loaded(name: str, tmp_path: Path) -> None:
    tokenizer(name).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.chat_template == CHATML_TEMPLATE
    assert (loaded.eos_token, loaded.pad_token) == (tokenizer(name).eos_token, tokenizer(name).pad_token)
    assert loaded.get_vocab() == tokenizer(name).get_vocab()
    assert encode_conversation(loaded, DIALOGUE) == encode_conversation(tokenizer(name), DIALOGUE)
    ids, _ = encode_conversation(loaded, DIALOGUE)
    assert decode(loaded, ids) == decode(tokenizer(name), ids)


@both
def test_the_mask_covers_exactly_the_assistant_turns_with_their_ends(name: str) -> None:
    ids, sampled = encode_conversation(tokenizer(name), DIALOGUE)
    own = [token for token, chosen in zip(ids, sampled, strict=True) if chosen]
    end = tokenizer(name).eos_token_id
    replies = [tokenizer(name).encode(turn.content, add_special_tokens=False) for turn in DIALOGUE if turn.role == "assistant"]
    assert own == [*replies[0], end, *replies[1], end]
    assert sampled[-1] and ids[-1] == end


@both
@pytest.mark.parametrize("length", [1, 3])
def test_a_prompt_is_how_its_conversation_begins(name: str, length: int) -> None:
    prompt = encode_prompt(tokenizer(name), DIALOGUE[:length])
    ids, sampled = encode_conversation(tokenizer(name), DIALOGUE[: length + 1])
    assert ids[: len(prompt)] == prompt and all(sampled[len(prompt) :])


def test_a_response_that_begins_with_newlines_leaves_the_prompt_as_it_is() -> None:
    turns = (Message("user", "Hi"), Message("assistant", "\n\n\n  well"))
    ids, sampled = encode_conversation(tokenizer("byte_bpe"), turns)
    prompt = encode_prompt(tokenizer("byte_bpe"), turns[:1])
    assert ids[: len(prompt)] == prompt and sum(sampled) == len(ids) - len(prompt)


@both
def test_decoding_a_response_keeps_its_box_and_its_think_tags(name: str) -> None:
    ids, sampled = encode_conversation(tokenizer(name), DIALOGUE[2:])
    assert decode(tokenizer(name), [token for token, chosen in zip(ids, sampled, strict=True) if chosen]) == REPLY
