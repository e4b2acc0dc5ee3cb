"""Every data-set format that TRL documents (docs/source/dataset_formats.md): read as TRL reads it, or refused with the reason."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

pytest.importorskip("trl", reason="trl is in the trl extra")

import trl
from trl_door import arguments

from rl_distill.algorithms import Redi, Sft
from rl_distill.algorithms.base import Algorithm
from rl_distill.errors import InputError
from rl_distill.integrations.trl_trainer import AlgorithmTrainer
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import byte_bpe_tokenizer
from rl_distill.problems.trl_rows import TrlRows, TrlTable
from rl_distill.trajectory import Group

USER, OTHER = {"role": "user", "content": "What color is the sky?"}, {"role": "user", "content": "And at night?"}
BLUE, GREEN = {"role": "assistant", "content": "It is blue."}, {"role": "assistant", "content": "It is green."}
SYSTEM = {"role": "system", "content": "Be short."}
TOKENIZER = byte_bpe_tokenizer(["What color is the sky? It is blue."], 300)

STANDARD: dict[str, dict[str, Any]] = {
    "prompt-completion": {"prompt": "The sky is", "completion": " blue."},
    "preference": {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
    "unpaired preference": {"prompt": "The sky is", "completion": " blue.", "label": True},
}
CONVERSATIONAL: dict[str, dict[str, Any]] = {
    "language modeling": {"messages": [USER, BLUE]},
    "prompt-completion": {"prompt": [USER], "completion": [BLUE]},
    "preference": {"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]},
    "preference, implicit prompt": {"chosen": [USER, BLUE], "rejected": [USER, GREEN]},
    "unpaired preference": {"prompt": [USER], "completion": [GREEN], "label": False},
    "several turns": {"prompt": [SYSTEM, USER, GREEN, OTHER], "chosen": [BLUE], "rejected": [GREEN]},
}
ROLLOUTS_ONLY: dict[str, dict[str, Any]] = {"standard": {"prompt": "The sky is"}, "conversational": {"prompt": [USER]}}
TOOL_CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "language modeling, standard": ({"text": "The sky is blue."}, "a plain `text` does not say who says what"),
    "preference, implicit prompt, standard": (
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        "do not say where the prompt ends",
    ),
    "stepwise supervision": (
        {"prompt": "Which is larger?", "completions": ["One.", "Two."], "labels": [True, False]},
        "column 'completions'.*process rewards",
    ),
    "tools": ({"messages": [USER, BLUE], "tools": [{"type": "function"}]}, "column 'tools'.*tool calls are not trained here"),
    "a tool call": ({"messages": [USER, TOOL_CALL]}, "has a message with 'tool_calls' beside its content"),
    "a tool's answer": (
        {"messages": [USER, {"role": "tool", "content": "on"}, BLUE]},
        "give a `role` of system, user, assistant",
    ),
    "harmony, thinking": ({"messages": [USER, {**BLUE, "thinking": "Deep."}]}, "has a message with 'thinking'"),
    "harmony, developer": ({"messages": [{"role": "developer", "content": "Hi"}, USER, BLUE]}, "give a `role`"),
    "template arguments": (
        {"messages": [USER, BLUE], "chat_template_kwargs": {"enable_thinking": False}},
        "chat_template_kwargs",
    ),
    "vision": ({"messages": [USER, BLUE], "images": ["a.png"]}, "column 'images'.*models that see"),
    "vision, in place": ({"messages": [{**USER, "content": [{"type": "image"}]}, BLUE]}, "a text as `content`"),
}


def read(row: dict[str, Any], folder: Path) -> Group:
    """The row as a group: from a file, and the same from tables in memory."""
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (group,) = TrlRows(path=str(path)).groups()
    for table in (TrlTable([row], "rows"), TrlTable(datasets.Dataset.from_list([row]), "rows")):
        problem = replace(group.problem, answer=None)  # nothing is verified in a trainer
        assert table[0] == replace(group, problem=problem)
    return group


def trained(data: Any, algorithm: Algorithm, folder: Path) -> Any:
    model = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=256).build(TOKENIZER)
    door = AlgorithmTrainer(model, arguments(folder), algorithm=algorithm, train_dataset=data, processing_class=TOKENIZER)
    door.train()
    return door.train_dataset


def trl_tokens(row: dict[str, Any], column: str) -> tuple[list[int], list[int]]:
    """Prompt and response as TRL's template function renders them, up to the end of the turn."""
    rendered = trl.apply_chat_template(trl.extract_prompt(row) if "chosen" in row and "prompt" not in row else row, TOKENIZER)
    texts = rendered["prompt"], rendered[column].removesuffix("\n")
    return tuple(TOKENIZER.encode(text, add_special_tokens=False) for text in texts)


@pytest.mark.parametrize("name", [name for name in CONVERSATIONAL if name != "language modeling"])
def test_conversations_become_the_tokens_that_trl_makes_of_them(tmp_path, name):
    row = CONVERSATIONAL[name]
    columns = ["chosen", "rejected"] if "chosen" in row else ["completion"]
    read(row, tmp_path)
    algorithm = Redi() if "chosen" in row else Sft(traces="all")
    samples = trained([row], algorithm, tmp_path)[0]
    for sample, column in zip(samples, columns, strict=True):
        prompt, response = trl_tokens(row, column)
        assert list(sample.trajectory.token_ids) == prompt + response
        last = [place for place, mine in enumerate(sample.trajectory.sampled) if not mine][-1] + 1
        assert list(sample.trajectory.token_ids[last:]) == response


def test_messages_are_trained_on_where_the_assistant_speaks(tmp_path):
    """TRL's language modeling with `assistant_only_loss`."""
    row = {"messages": [USER, GREEN, OTHER, BLUE]}
    read(row, tmp_path)
    ((sample,),) = [trained([row], Sft(), tmp_path)[0]]
    text = trl.apply_chat_template(row, TOKENIZER)["text"].removesuffix("\n")
    assert list(sample.trajectory.token_ids) == TOKENIZER.encode(text, add_special_tokens=False)
    said = [token for token, mine in zip(sample.trajectory.token_ids, sample.trajectory.sampled, strict=True) if mine]
    assert TOKENIZER.decode(said) == "It is green.<|im_end|>It is blue.<|im_end|>"


@pytest.mark.parametrize("name", STANDARD)
def test_texts_are_turns_of_user_and_assistant(tmp_path, name):
    """Unlike TRL, which lets a model go on writing the prompt: what is taught here answers."""
    row = STANDARD[name]
    turns = {"prompt": "user", "completion": "assistant", "chosen": "assistant", "rejected": "assistant"}
    spoken = {key: [{"role": turns[key], "content": value}] if key in turns else value for key, value in row.items()}
    group, conversation = read(row, tmp_path), read(spoken, tmp_path)
    assert group == conversation
    trained([row], Redi() if "chosen" in row else Sft(), tmp_path)


@pytest.mark.parametrize("name", ROLLOUTS_ONLY)
def test_prompts_alone_are_for_rollouts(tmp_path, name):
    assert read(ROLLOUTS_ONLY[name], tmp_path).trajectories == ()
    with pytest.raises(InputError, match="none of its 1 groups has what 'sft' learns from"):
        trained([ROLLOUTS_ONLY[name]], Sft(), tmp_path)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_read_otherwise_than_meant_is_refused(tmp_path, name):
    row, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        read(row, tmp_path)
    with pytest.raises(InputError, match=f"train_dataset row 1.*{message}"):
        trained([row], Sft(), tmp_path)


def test_rows_of_several_formats_stand_in_one_table(tmp_path):
    """Concatenated sets have each other's columns, empty."""
    names = ["preference", "language modeling", "unpaired preference"]
    table = datasets.concatenate_datasets([datasets.Dataset.from_list([CONVERSATIONAL[name]]) for name in names])
    assert table[0]["messages"] is None
    for row in table:
        read(row, tmp_path)
    found = trained(table, Sft(), tmp_path)
    assert [found[index][0].trajectory.response for index in range(len(found))] == ["It is blue.", "It is blue."]


def test_columns_of_no_format_are_kept_for_reward_functions(tmp_path):
    group = read({**ROLLOUTS_ONLY["standard"], "solution": "blue", "level": 3}, tmp_path)
    assert group.problem.metadata == {"solution": "blue", "level": 3}
