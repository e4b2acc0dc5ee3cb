"""A pretrained model with another context: it rotates by the new base wherever it is loaded, and nothing else changes."""

import json
from pathlib import Path

import pytest
import torch
from tiny_qwen import OWN_CONTEXT, OWN_THETA, qwen_folder, qwen_model, qwen_tokenizer
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.models.loading import load_model, save_pretrained
from rl_distill.models.pretrained import PretrainedModel

TOKENS = torch.arange(40)[None] * 7 % 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen_folder(tmp_path_factory.mktemp("model") / "qwen")


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=TOKENS).logits


def changed(folder: Path):
    return PretrainedModel(path=str(folder), max_context=32_768, rope_theta=300_000.0)


def test_the_model_rotates_by_the_new_base(folder):
    model = changed(folder).build(None)
    expected = 300_000.0 ** (-torch.arange(0, 16, 2) / 16)
    assert torch.allclose(model.model.rotary_emb.inv_freq, expected, rtol=1e-5)
    built = qwen_model(qwen_tokenizer(), rope_theta=300_000.0, context=32_768)
    assert torch.equal(logits(model), logits(built))
    assert not torch.allclose(logits(model), logits(load_model(str(folder))), atol=1e-4)


def test_the_weights_stay_as_they_are(folder):
    before = load_model(str(folder)).state_dict()
    after = changed(folder).build(None).state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_the_change_is_saved_with_the_model_and_found_by_auto_classes(folder, tmp_path):
    model, tokenizer = changed(folder).build(None), qwen_tokenizer()
    save_pretrained(model, tokenizer, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.max_position_embeddings == 32_768
    assert loaded.config.rope_parameters == {"rope_type": "default", "rope_theta": 300_000.0}
    assert torch.equal(logits(loaded), logits(model)) and torch.equal(logits(load_model(str(tmp_path))), logits(model))


@pytest.mark.parametrize(
    ("given", "context", "theta"),
    [
        ({"max_context": 32_768}, 32_768, OWN_THETA),
        ({"rope_theta": 5e5}, OWN_CONTEXT, 5e5),
        ({"max_context": 16}, 16, OWN_THETA),
        ({"max_context": OWN_CONTEXT, "rope_theta": OWN_THETA}, OWN_CONTEXT, OWN_THETA),
    ],
)
def test_what_is_not_given_stays_the_models_own_and_a_shorter_context_is_allowed(folder, given, context, theta):
    settings = PretrainedModel(path=str(folder), **given).settings()
    assert (settings.max_position_embeddings, settings.rope_parameters["rope_theta"]) == (context, theta)


def test_a_model_whose_positions_are_scaled_is_refused(folder, tmp_path):
    scaled = json.loads((folder / "config.json").read_text())
    rope = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 16}
    (tmp_path / "config.json").write_text(json.dumps(scaled | {"rope_parameters": rope}))
    with pytest.raises(InputError, match=r"student.model: the context of .* coded otherwise .*yarn"):
        changed(tmp_path).settings()


def test_a_model_without_rotary_positions_is_refused(tmp_path):
    GPT2LMHeadModel(GPT2Config(n_embd=8, n_head=1, n_layer=1, vocab_size=16, n_positions=16)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"rope_parameters: None.*plain rotary positions"):
        changed(tmp_path).build(None)


def test_a_folder_that_is_not_there_is_named_under_its_key():
    with pytest.raises(InputError, match=r"student.model.path: there is no folder '/nowhere/at-all'"):
        PretrainedModel(path="/nowhere/at-all", max_context=8).settings()


def test_a_path_that_changes_nothing_is_refused():
    with pytest.raises(InputError, match="path: stands alone, so nothing is changed; give max_context or rope_theta"):
        parse(PretrainedModel, {"path": "Qwen/Qwen2.5-Math-1.5B"})
