"""Chat templates and the answer format: the only place where prompts are worded and text becomes tokens."""

from collections.abc import Sequence
from typing import Any

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.trajectory import Message

CHATML_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@config
class PromptFormat:
    """How a problem is put to the student; the same in training, rollouts and evaluation."""

    system: str | None = setting(None, about="system turn; none leaves the template's own default")
    instruction: str = setting("", about="appended to the problem, for example to ask for a boxed answer")

    def messages(self, prompt: str) -> tuple[Message, ...]:
        """The turns before the student speaks."""
        user = Message("user", f"{prompt}\n{self.instruction}" if self.instruction else prompt)
        return (user,) if self.system is None else (Message("system", self.system), user)


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of a conversation up to where the assistant speaks next."""
    return tuple(_render(tokenizer, messages, add_generation_prompt=True))


def encode_conversation(tokenizer: Any, messages: Sequence[Message]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Token ids of a finished conversation, and True for what the assistant says: each of its turns with its end-of-turn token.

    What the template prints after the last end of turn (a newline) is dropped: no model ever samples it.

    Raises:
        InputError: the template rewrites earlier turns, so that a turn's tokens cannot be told apart.
    """
    token_ids: list[int] = []
    sampled: list[bool] = []
    end_of_turn = set(end_of_turn_ids(tokenizer))
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        prompt = _render(tokenizer, messages[:index], add_generation_prompt=True)
        whole = _render(tokenizer, messages[: index + 1], add_generation_prompt=False)
        if prompt[: len(token_ids)] != token_ids or whole[: len(prompt)] != prompt:
            raise InputError(
                "student.model",
                "its chat template rewrites earlier turns, so the student's own tokens cannot be told apart",
                "use a template whose rendering of a conversation extends the rendering of its beginning",
            )
        turn = whole[len(prompt) :]
        end = next((position for position, token in enumerate(turn) if token in end_of_turn), len(turn) - 1)
        sampled += [False] * (len(prompt) - len(token_ids)) + [True] * (end + 1)
        token_ids = list(prompt) + turn[: end + 1]
    return tuple(token_ids), tuple(sampled)


def end_of_turn_ids(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an assistant turn: the tokenizer's EOS, and ChatML's closer where it exists."""
    closer = tokenizer.convert_tokens_to_ids("<|im_end|>")
    ids = {tokenizer.eos_token_id, None if closer == tokenizer.unk_token_id else closer}
    return tuple(sorted(token for token in ids if token is not None))


def decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """The text of a response, without special tokens."""
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))


def _render(tokenizer: Any, messages: Sequence[Message], *, add_generation_prompt: bool) -> list[int]:
    turns = [turn._asdict() for turn in messages]
    if not tokenizer.chat_template:
        raise InputError(
            "student.model", "its tokenizer has no chat template", "set one on the tokenizer and save it with the model"
        )
    out = tokenizer.apply_chat_template(turns, tokenize=True, add_generation_prompt=add_generation_prompt, return_dict=False)
    return [int(token) for token in out]
