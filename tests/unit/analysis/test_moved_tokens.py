"""Two small models on recorded traces, against plain transformers."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rl_distill.analysis.moved_report import moved_report
from rl_distill.analysis.moved_tokens import moved_tokens
from rl_distill.analysis.rates import Resampling
from rl_distill.analysis.samples import Recorded
from rl_distill.analysis.token_classes import load_classes
from rl_distill.errors import InputError
from rl_distill.models.loading import Architecture, load_tokenizer, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer, byte_bpe_tokenizer
from rl_distill.text import encode_conversation
from rl_distill.trajectory import Message

CLASSES = load_classes()
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_layers": 1, "num_heads": 2, "max_context": 64, "initializer_range": 0.3}
SAID = ["<think> 2 + 2 is 4 </think> \\boxed{4}", "no ; why ? is 7"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folders = []
    for seed in (0, 1):
        tokenizer = arithmetic_tokenizer()
        folder = tmp_path_factory.mktemp("model") / str(seed)
        save_pretrained(Architecture(seed=seed, **SMALL).build(tokenizer), tokenizer, folder)
        folders.append(str(folder))
    return folders


def recorded(text: str, problem: str, *, ids: bool = False, finished: bool = True) -> Recorded:
    messages = (Message("user", "2 + 2 = ?"), Message("assistant", text))
    token_ids, sampled = encode_conversation(arithmetic_tokenizer(), messages) if ids else ((), ())
    return Recorded(
        problem_id=problem,
        text=text,
        status="correct",
        finished=finished,
        num_tokens=9,
        messages=messages,
        token_ids=token_ids,
        sampled=sampled,
    )


def plain_logprobs(folder: str, response: Recorded) -> list[float]:
    ids, wanted = encode_conversation(load_tokenizer(folder), response.messages)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return [logprobs[place - 1, ids[place]].item() for place in range(1, len(ids)) if wanted[place]]


def test_changes_are_those_of_plain_forward_passes_whether_ids_or_text_was_recorded(models: list[str]) -> None:
    responses = [recorded(SAID[0], "a", ids=True), recorded(SAID[1], "b"), recorded(SAID[0], "b")]
    moved = moved_tokens(responses, *models, CLASSES.matcher())
    assert (moved.too_long, moved.reencoded) == (0, 2)
    for response, tokens in moved.traces:
        before, after = (plain_logprobs(folder, response) for folder in models)
        assert [token.change for token in tokens] == pytest.approx([b - a for a, b in zip(before, after, strict=True)], abs=1e-4)


def test_runs_and_their_stages_are_taken_like_checkpoints(models: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(models[0], run / "stages" / "sft" / "student")
    shutil.copytree(models[1], run / "final")
    (run / "recipe.yaml").write_text("name: r\n")
    responses = [recorded(SAID[0], "a")]
    changes = [
        [token.change for token in moved_tokens(responses, *pair, CLASSES.matcher()).traces[0][1]]
        for pair in (models, (f"{run}:sft", str(run)))
    ]
    assert changes[0] == changes[1] and any(changes[0])
    with pytest.raises(InputError, match=r"--moved: .* has no finished stage 'redi'; give .*run:sft"):
        moved_tokens(responses, f"{run}:redi", str(run), CLASSES.matcher())


def test_a_model_does_not_move_against_itself(models: list[str]) -> None:
    moved = moved_tokens([recorded(SAID[0], "a")], models[0], models[0], CLASSES.matcher())
    assert {token.change for token in moved.traces[0][1]} == {0.0}


def test_tokens_know_their_word_and_class_and_a_cut_response_has_no_end_of_turn(models: list[str]) -> None:
    (_, tokens), (_, cut) = moved_tokens(
        [recorded(SAID[1], "a"), recorded(SAID[1], "a", finished=False)], *models, CLASSES.matcher()
    ).traces
    assert [(token.word, token.label) for token in tokens] == [
        ("no", "arithmetic_world"),
        (";", ""),
        ("why", "arithmetic_world"),
        ("?", ""),
        ("is", "arithmetic_world"),
        ("7", ""),
        ("<|im_end|>", ""),
    ]
    assert len(cut) == len(tokens) - 1


def test_the_report_sums_by_word_and_by_class(models: list[str]) -> None:
    moved = moved_tokens([recorded(SAID[0], "a"), recorded(SAID[1], "b")], *models, CLASSES.matcher())
    found = moved_report(moved, CLASSES.classes, Resampling(["a", "b"], 0))
    changes = [token for _, tokens in moved.traces for token in tokens]
    own = [token.change for token in changes if token.word == "is"]
    (word,) = [one for one in found["rose"] + found["fell"] if one["word"] == "is"]
    assert (word["count"], word["sum"]) == (2, pytest.approx(sum(own)))
    assert found["by_class"]["arithmetic_world"]["tokens"] == 4
    assert found["per_token"]["change"]["value"] == pytest.approx(sum(token.change for token in changes) / len(changes))
    assert sum(one["tokens"] for one in found["by_decile"]) == len(changes)


def test_a_word_of_several_tokens_is_one_word(tmp_path: Path) -> None:
    tokenizer = byte_bpe_tokenizer(["x"], 259)  # bytes alone
    folder = tmp_path / "bytes"
    save_pretrained(Architecture(**SMALL | {"max_context": 256}).build(tokenizer), tokenizer, folder)
    response = recorded("caf\u00e9 wait", "a")
    ((_, tokens),) = moved_tokens([response], str(folder), str(folder), CLASSES.matcher()).traces
    assert [token.word for token in tokens].count("caf\u00e9") >= 4
    assert sum(token.begins for token in tokens if token.word == "caf\u00e9") == 1
    assert [token.label for token in tokens if token.word == "wait"] == ["anthropomorphic"] * 4


def test_what_cannot_be_compared_is_refused_or_counted(models: list[str], tmp_path: Path) -> None:
    matcher = CLASSES.matcher()
    with pytest.raises(InputError, match="recorded without the conversation"):
        moved_tokens([Recorded(problem_id="a", text="x", status=None, finished=True, num_tokens=1)], *models, matcher)
    assert moved_tokens([recorded("1 " * 80, "a"), recorded(SAID[0], "a")], *models, matcher).too_long == 1
    other = byte_bpe_tokenizer(["x"], 259)
    save_pretrained(Architecture(**SMALL).build(other), other, tmp_path / "other")
    with pytest.raises(InputError, match="another vocabulary|embeddings"):
        moved_tokens([recorded(SAID[0], "a")], models[0], str(tmp_path / "other"), matcher)
