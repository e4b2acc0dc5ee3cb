import re

import pytest

from rl_distill.errors import InputError
from rl_distill.models.vocabulary import arithmetic_tokenizer, byte_bpe_tokenizer
from rl_distill.text import CHATML_TEMPLATE, PromptFormat, decode, encode_conversation, encode_prompt, end_of_turn_ids
from rl_distill.trajectory import Message

DIALOGUE = (
    Message("system", "be brief"),
    Message("user", "2 + 2?"),
    Message("assistant", "4"),
    Message("user", "why?"),
    Message("assistant", "two and two\n\nmake four"),
)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_bpe_tokenizer([turn.content for turn in DIALOGUE], 300)


def sampled_text(tokenizer, messages):
    token_ids, sampled = encode_conversation(tokenizer, messages)
    return tokenizer.decode([token for token, mine in zip(token_ids, sampled, strict=True) if mine])


def test_a_conversation_begins_with_the_prompt_that_was_sampled_from(tokenizer):
    token_ids, sampled = encode_conversation(tokenizer, DIALOGUE)
    for length in (2, 4):
        prompt = encode_prompt(tokenizer, DIALOGUE[:length])
        assert token_ids[: len(prompt)] == prompt and sampled[len(prompt)] and not sampled[len(prompt) - 1]


def test_a_shorter_conversation_is_the_beginning_of_a_longer_one(tokenizer):
    shorter, longer = encode_conversation(tokenizer, DIALOGUE[:3]), encode_conversation(tokenizer, DIALOGUE)
    assert longer[0][: len(shorter[0])] == shorter[0] and longer[1][: len(shorter[1])] == shorter[1]


def test_what_the_assistant_says_is_marked_with_its_end_of_turn_and_nothing_else(tokenizer):
    assert sampled_text(tokenizer, DIALOGUE) == "4<|im_end|>two and two\n\nmake four<|im_end|>"
    token_ids, sampled = encode_conversation(tokenizer, DIALOGUE)
    assert sampled[-1] and token_ids[-1] in end_of_turn_ids(tokenizer)  # no newline of the template behind it


def test_turns_after_the_last_reply_are_left_out(tokenizer):
    assert encode_conversation(tokenizer, DIALOGUE[:4]) == encode_conversation(tokenizer, DIALOGUE[:3])
    assert encode_conversation(tokenizer, DIALOGUE[:2]) == ((), ())


def test_the_words_of_a_response_come_back(tokenizer):
    token_ids, sampled = encode_conversation(tokenizer, DIALOGUE[:3])
    assert decode(tokenizer, [token for token, mine in zip(token_ids, sampled, strict=True) if mine]) == "4"


@pytest.mark.parametrize(
    "template",
    [
        # drops what was thought in earlier turns, as reasoning models' templates do
        CHATML_TEMPLATE.replace("message['content']", "(message['content'] if loop.last else message['content'][:1])"),
        # numbers the turns from the end
        CHATML_TEMPLATE.replace("message['role']", "message['role'] ~ loop.revindex"),
        # opens the reply with something else than what it prints for a finished one
        CHATML_TEMPLATE.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>"),
    ],
)
def test_a_template_that_rewrites_turns_is_refused(template):
    tokenizer = byte_bpe_tokenizer([turn.content for turn in DIALOGUE], 300)
    tokenizer.chat_template = template
    with pytest.raises(InputError, match="student.model: its chat template rewrites or drops a part"):
        encode_conversation(tokenizer, DIALOGUE)


def test_a_tokenizer_without_a_template_is_refused():
    tokenizer = arithmetic_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        encode_prompt(tokenizer, DIALOGUE[1:2])


def test_turns_end_at_eos_and_at_chatmls_closer(tokenizer):
    closer = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert closer in end_of_turn_ids(tokenizer) and tokenizer.eos_token_id in end_of_turn_ids(tokenizer)


def test_the_prompt_format_words_the_turns_before_the_student_speaks():
    assert PromptFormat().messages("2 + 2?") == (Message("user", "2 + 2?"),)
    worded = PromptFormat(system="be brief", instruction="Box it.").messages("2 + 2?")
    assert worded == (Message("system", "be brief"), Message("user", "2 + 2?\nBox it."))
    assert PromptFormat(system="").messages("x")[0] == Message("system", "")


def test_templates_see_the_generation_prompt_only_when_the_student_speaks_next(tokenizer):
    prompt = tokenizer.decode(encode_prompt(tokenizer, DIALOGUE[:2]))
    assert prompt.endswith("<|im_start|>assistant\n") and len(re.findall("<.im_start.>", prompt)) == 3


OPENS_THE_REPLY = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
GEMMA_LIKE = (
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
R1_LIKE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{{ m['content'].split('</think>')[-1] }}{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n"
    "{% endfor %}"
) + OPENS_THE_REPLY


def bytes_tokenizer():
    from rl_distill.models.vocabulary import byte_bpe_tokenizer

    return byte_bpe_tokenizer(["2 + 2 = 4\n\nso 4"] * 5, 300)


def spoken(tokenizer, reply):
    ids, sampled = encode_conversation(tokenizer, (Message("user", "2 + 2?"), Message("assistant", reply)))
    return [token for token, mine in zip(ids, sampled, strict=True) if mine]


def test_a_reply_may_begin_with_a_newline():
    tokenizer = bytes_tokenizer()
    said = spoken(tokenizer, "\n\n4")
    assert tokenizer.decode(said) == "\n\n4<|im_end|>"
    assert said[:-1] == tokenizer.encode("\n\n4", add_special_tokens=False)


def test_the_end_of_turn_is_what_the_template_closes_with():
    tokenizer = bytes_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    tokenizer.chat_template = GEMMA_LIKE
    closer = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert closer in end_of_turn_ids(tokenizer)
    assert spoken(tokenizer, "4")[-1] == closer and spoken(tokenizer, "4").count(closer) == 1


def test_a_template_that_drops_the_thinking_is_refused():
    tokenizer = bytes_tokenizer()
    tokenizer.chat_template = R1_LIKE
    with pytest.raises(InputError, match="drops a part of an assistant turn"):
        spoken(tokenizer, "<think>2 and 2</think>4")


def test_a_reply_that_holds_the_end_of_turn_is_refused_and_not_cut():
    with pytest.raises(InputError, match="contains the end-of-turn token"):
        spoken(bytes_tokenizer(), "4<|im_end|> and more")


def test_a_template_without_a_closing_token_is_refused():
    tokenizer = bytes_tokenizer()
    turns = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    tokenizer.chat_template = turns + "{% if add_generation_prompt %}assistant: {% endif %}"
    with pytest.raises(InputError, match="with no special token"):
        spoken(tokenizer, "4")


def test_a_template_with_a_system_line_of_its_own_keeps_it_and_the_thinking():
    """Qwen2.5-Math's: nothing of the prompt format gets between its system line and the problem."""
    from tiny_qwen import SYSTEM, qwen_tokenizer

    tokenizer, reply = qwen_tokenizer(), "<think>\nOkay, 2 + 2.\n</think>\n\nIt is \\boxed{4}."
    messages = PromptFormat().messages("2 + 2?")
    prompt = encode_prompt(tokenizer, messages)
    opening = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(prompt) == opening
    assert spoken(tokenizer, reply) == tokenizer.encode(f"{reply}<|im_end|>", add_special_tokens=False)
    assert encode_conversation(tokenizer, (*messages, Message("assistant", reply)))[0][: len(prompt)] == prompt
    assert tokenizer.decode(encode_prompt(tokenizer, PromptFormat(system="brief").messages("2?"))).count("system") == 1


def test_a_token_that_only_the_vocabulary_marks_as_special_ends_turns():
    """Llama 3: <|eot_id|> is special in the vocabulary, and none of the tokenizer's named tokens."""
    from tokenizers import AddedToken

    tokenizer = bytes_tokenizer()
    tokenizer.add_tokens([AddedToken("<|eot_id|>", special=True)])
    tokenizer.chat_template = CHATML_TEMPLATE.replace("<|im_end|>", "<|eot_id|>")
    closer = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    assert "<|eot_id|>" not in tokenizer.all_special_tokens
    assert end_of_turn_ids(tokenizer) == (tokenizer.eos_token_id, closer)
    assert spoken(tokenizer, "4")[-1] == closer and decode(tokenizer, spoken(tokenizer, "4")) == "4"


def test_a_base_models_eos_ends_a_turn_when_it_is_sampled_and_is_not_what_is_taught():
    """Qwen2.5: the tokenizer's EOS is <|endoftext|>, which the template never prints."""
    tokenizer = bytes_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.eos_token = "<|endoftext|>"
    eos, closer = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    assert end_of_turn_ids(tokenizer) == (eos, closer)
    assert spoken(tokenizer, "4")[-1] == closer and eos not in spoken(tokenizer, "4")


def test_turns_that_end_in_nothing_are_refused_before_anything_is_said():
    tokenizer = bytes_tokenizer()
    tokenizer.chat_template = CHATML_TEMPLATE.replace("<|im_end|>", "")
    with pytest.raises(InputError, match=r"nothing to stop at; let it end turns with one, such as .* EOS '<.im_end.>'"):
        end_of_turn_ids(tokenizer)


def test_the_end_of_turn_is_found_where_the_template_opens_a_reply_otherwise_than_it_prints_one():
    tokenizer = bytes_tokenizer()
    tokenizer.chat_template = CHATML_TEMPLATE.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n" + " " * 40)
    assert end_of_turn_ids(tokenizer) == (tokenizer.convert_tokens_to_ids("<|im_end|>"),)


def test_the_beginning_of_text_stands_once_also_where_the_tokenizer_would_add_it():
    from tokenizers.processors import TemplateProcessing

    tokenizer = bytes_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    assert tokenizer.encode("4")[0] == bos
    tokenizer.chat_template = "{{ bos_token }}" + CHATML_TEMPLATE
    conversation = (Message("user", "2 + 2?"), Message("assistant", "4"))
    assert (
        encode_prompt(tokenizer, conversation[:1]).count(bos) == encode_conversation(tokenizer, conversation)[0].count(bos) == 1
    )


def test_a_conversation_that_the_template_refuses_is_an_input_error_with_its_words():
    tokenizer = bytes_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(InputError, match=r"refuses a conversation of system, user \(System role not supported\)"):
        encode_prompt(tokenizer, DIALOGUE[:2])


def test_a_tokenizer_that_is_given_another_template_or_eos_is_looked_at_again():
    tokenizer = bytes_tokenizer()
    before = end_of_turn_ids(tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.eos_token = "<|endoftext|>"
    assert end_of_turn_ids(tokenizer) == (tokenizer.eos_token_id, *before)
    tokenizer.chat_template = CHATML_TEMPLATE.replace("<|im_end|>", "<|endoftext|>")
    assert end_of_turn_ids(tokenizer) == (tokenizer.eos_token_id,)
