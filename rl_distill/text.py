"""Chat templates and the answer format: the only place where prompts are worded and text becomes tokens."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

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
        return (*self.beginning, self.problem_turn(prompt))

    @property
    def beginning(self) -> tuple[Message, ...]:
        """What stands before the first turn of a user."""
        return () if self.system is None else (Message("system", self.system),)

    def problem_turn(self, prompt: str) -> Message:
        """The turn that puts the problem; questions before it carry no instruction."""
        return Message("user", f"{prompt}\n{self.instruction}" if self.instruction else prompt)


def is_writable(text: str) -> bool:
    """Whether it can be written as UTF-8: JSON may spell half of a character (a lone surrogate), which nothing else can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of a conversation up to where the assistant speaks next."""
    return tuple(_ids(tokenizer, _rendered(tokenizer, messages, add_generation_prompt=True)))


def encode_conversation(tokenizer: Any, messages: Sequence[Message]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Token ids of a finished conversation, and True for what the assistant says: each of its turns with its end-of-turn token.

    What the template prints after the last end of turn (a newline) is dropped: no model ever samples it.

    Raises:
        InputError: the template rewrites earlier turns or drops a part of one: that would not be trained on as it was said.
    """
    token_ids: list[int] = []
    sampled: list[bool] = []
    for asked, said in encode_exchanges(tokenizer, messages):
        token_ids += [*asked, *said]
        sampled += [False] * len(asked) + [True] * len(said)
    return tuple(token_ids), tuple(sampled)


class Exchange(NamedTuple):
    """Token ids of what stands before an assistant turn, since the end of the one before, and of the turn with its end token."""

    asked: tuple[int, ...]
    said: tuple[int, ...]


def encode_exchanges(tokenizer: Any, messages: Sequence[Message]) -> list[Exchange]:
    """A conversation cut at its assistant turns. A turn is tokenised apart from what precedes it, as it is when it is sampled.

    Raises:
        InputError: as `encode_conversation`.
    """
    said = [message.content for message in messages if message.role == "assistant"]
    return [
        Exchange(tuple(_ids(tokenizer, before)), tuple(_closed(tokenizer, turn, content)))
        for (before, turn), content in zip(_exchange_texts(tokenizer, messages), said, strict=True)
    ]


def check_dialogues(tokenizer: Any, system: str | None) -> None:
    """See that a student can hold a dialogue in which nothing that was said changes when more is said, thoughts included.

    Raises:
        InputError: its chat template refuses several turns, or rewrites earlier ones.
    """
    before = () if system is None else (Message("system", system),)
    for reply in (PLACEHOLDER, f"<think>\n{PLACEHOLDER}\n</think>\n\n{PLACEHOLDER}"):
        turn = (Message("user", "?"), Message("assistant", reply))
        try:
            list(_exchange_texts(tokenizer, (*before, *turn, *turn, *turn)))
        except InputError as error:
            name = str(tokenizer.name_or_path) or type(tokenizer).__name__
            problem = f"the student {name!r} cannot hold a dialogue of several turns: {error.problem}"
            raise InputError(error.field, problem, error.remedy) from None


def end_of_turn_ids(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an assistant turn: the special token its chat template closes a turn with, and the tokenizer's EOS.

    They differ where a base model comes with a chat template: it was taught to end a text, and learns to end a turn.

    Raises:
        InputError: the template refuses a conversation or closes a turn with no special token.
    """
    closer, eos = closer_id(tokenizer), tokenizer.eos_token_id
    return tuple(sorted({closer} if eos is None else {closer, eos}))


def closer_id(tokenizer: Any) -> int:
    """The special token that the chat template closes an assistant turn with.

    Raises:
        InputError: as `end_of_turn_ids`.
    """
    return _closer_id(tokenizer, str(tokenizer.chat_template), tokenizer.eos_token_id)


@lru_cache(maxsize=16)
def _closer_id(tokenizer: Any, template: str, eos: int | None) -> int:
    """A tokenizer is compared by identity, and may be given another template or EOS."""
    probe = (Message("user", "?"), Message("assistant", PLACEHOLDER))
    closing = _rendered(tokenizer, probe, add_generation_prompt=False).rpartition(PLACEHOLDER)[2]
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    special = [token for token in {*tokenizer.all_special_tokens, *added} if token in closing]
    if not special:
        raise InputError(
            "student.model",
            "its chat template closes an assistant turn with no special token, so there is nothing to stop at",
            f"let it end turns with one, such as the tokenizer's EOS {tokenizer.eos_token!r}",
        )
    # of two that begin at one place the longer is the one that the tokenizer finds
    return int(tokenizer.convert_tokens_to_ids(min(special, key=lambda token: (closing.index(token), -len(token)))))


def decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """The text of a response, without special tokens."""
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))


def last_boxed(text: str) -> str | None:
    r"""Content of the last complete outermost `\boxed{...}`, or None; one pass: a million braces cost a million letters."""
    closers: list[int | None] = []  # for each open brace: where the content of its box starts, None for a plain brace
    found: tuple[int, int] | None = None
    for token in _BOX_OR_BRACE.finditer(text):
        if token[0].startswith("\\boxed"):
            closers.append(token.end())
        elif token[0] == "{":
            closers.append(None)
        elif token[0] == "}" and closers:
            start = closers.pop()
            if start is not None:
                found = (start, token.start())
    return None if found is None else _INNER_BOX.sub("", text[slice(*found)]).strip()


_BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_INNER_BOX = re.compile(r"\\boxed\s*(?=\{)")
PLACEHOLDER = "0"  # a reply that every vocabulary has


def _exchange_texts(tokenizer: Any, messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """For each assistant turn what the template prints before it, since the end of the one before, and the turn itself."""
    before = ""
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        prompt = _rendered(tokenizer, messages[:index], add_generation_prompt=True)
        whole = _rendered(tokenizer, messages[: index + 1], add_generation_prompt=False)
        turn = whole[len(prompt) :]
        if not (prompt.startswith(before) and whole.startswith(prompt) and message.content.strip() in turn):
            raise InputError(
                "student.model",
                "its chat template rewrites or drops a part of an assistant turn, so it would not be trained on as it was said",
                "use a template that prints assistant turns whole and only ever adds to a conversation",
            )
        yield prompt[len(before) :], turn
        before = prompt + _closed_text(tokenizer, turn)


def _closed(tokenizer: Any, turn: str, content: str) -> list[int]:
    """Token ids of an assistant turn up to its end-of-turn token."""
    end_of_turn = end_of_turn_ids(tokenizer)
    if any(tokenizer.convert_ids_to_tokens(token) in content for token in end_of_turn):
        raise InputError(
            "problems", f"a reply contains the end-of-turn token: {content[:60]!r}", "remove it from the text, or drop the row"
        )
    ids = _ids(tokenizer, turn)
    end = next((position for position, token in enumerate(ids) if token in end_of_turn), None)
    if end is None:
        raise _open_turn()
    return ids[: end + 1]


def _closed_text(tokenizer: Any, turn: str) -> str:
    """The turn's text up to its end-of-turn token."""
    closers = [tokenizer.convert_ids_to_tokens(token) for token in end_of_turn_ids(tokenizer)]
    found = [closer for closer in closers if closer in turn]
    if not found:
        raise _open_turn()
    closer = min(found, key=turn.index)
    return turn[: turn.index(closer) + len(closer)]


def _open_turn() -> InputError:
    problem = "its chat template leaves an assistant turn of a dialogue open"
    return InputError("student.model", problem, "use one that ends every turn alike")


def _rendered(tokenizer: Any, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    if not tokenizer.chat_template:
        raise InputError(
            "student.model", "its tokenizer has no chat template", "set one on the tokenizer and save it with the model"
        )
    from jinja2 import TemplateError

    turns = [turn._asdict() for turn in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt))
    except TemplateError as error:
        roles = ", ".join(turn.role for turn in messages)
        problem = f"its chat template refuses a conversation of {roles} ({error})"
        raise InputError("student.model", problem, "drop student.prompt.system if it is that, or mend the template") from None


def check_words(tokenizer: Any, text: str, field: str) -> None:
    """
    Raises:
        InputError: the tokenizer, of a closed vocabulary, cannot spell the text of a setting.
    """
    _ids(tokenizer, text, field)


def _ids(tokenizer: Any, text: str, field: str = "student.prompt or problems") -> list[int]:
    """The template prints every special token itself, a beginning-of-text token included."""
    try:
        return [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]
    except Exception as error:  # what `tokenizers` raises for a word that a closed vocabulary lacks
        problem = f"{text[:60]!r} cannot be tokenised ({error})"
        raise InputError(field, problem, "use words that the student's vocabulary has") from None
