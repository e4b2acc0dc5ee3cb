"""Adapters: where they go, what they leave alone, and what the model is when they are merged or taken out."""

import json
import sys
from typing import Any

import pytest
import torch
from tiny_qwen import qwen_model, qwen_tokenizer
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.models.digest import named_weights
from rl_distill.models.loading import save_pretrained
from rl_distill.models.lora import Lora, adapter_weights, lora_of, merged, remove_adapters

TOKENIZER = qwen_tokenizer()
IDS = torch.arange(3, 19)[None]


def adapted(lora: Lora | None = None, *, seed: int = 0, trained: bool = True) -> Any:
    """A tiny Qwen2 with adapters; `trained` ones have an effect."""
    model = (lora or Lora(rank=4, alpha=12)).inject(qwen_model(TOKENIZER), seed)
    if trained:
        draw = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in adapter_weights(model).values():
                weight.copy_(0.1 * torch.randn(weight.shape, generator=draw))
    return model


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(IDS).logits


def test_new_adapters_change_nothing_and_are_all_that_trains():
    model = adapted(trained=False)
    assert torch.equal(logits(model), logits(qwen_model(TOKENIZER)))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == adapter_weights(model).keys() and len(trained) == 2 * 2 * 7  # A and B, layers, matrices of a layer


def test_the_model_keeps_its_class_its_base_and_its_output_layer():
    model, plain = adapted(), qwen_model(TOKENIZER)
    assert type(model) is type(plain) and type(model.base_model) is type(plain.base_model)
    assert type(model.get_output_embeddings()) is torch.nn.Linear


def test_initial_values_are_a_function_of_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    first, again, other = (adapter_weights(adapted(seed=seed, trained=False)) for seed in (1, 1, 2))
    assert torch.rand(1) == expected
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_maker_gives_every_stage_values_of_its_own():
    made = [Lora(rank=2).maker(lambda: qwen_model(TOKENIZER), 0, stage)() for stage in ("sft", "sft", "grpo")]
    first, again, other = ([weight.flatten() for weight in adapter_weights(model).values()] for model in made)
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not torch.equal(torch.cat(first), torch.cat(other))


def test_only_the_named_layers_get_one():
    model = adapted(Lora(rank=2, target_modules=("q_proj", "model.layers.1.mlp.up_proj")))
    owners = {name.partition(".lora_")[0] for name in adapter_weights(model)}
    assert owners == {*(f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)), "model.layers.1.mlp.up_proj"}


def test_what_a_model_says_about_its_adapters_makes_the_same_again():
    model = adapted(Lora(rank=2, alpha=3, target_modules=("q_proj",)))
    found = lora_of(model)
    assert found == Lora(rank=2, alpha=3, target_modules=("q_proj",))
    assert adapter_weights(adapted(lora_of(adapted()))).keys() == adapter_weights(adapted()).keys()
    assert lora_of(qwen_model(TOKENIZER)) is None


def test_merged_weights_have_a_plain_models_names_and_give_the_same_logits():
    model, plain = adapted(), qwen_model(TOKENIZER)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    whole = merged(model)
    assert whole.keys() == dict(plain.named_parameters()).keys()
    plain.load_state_dict(whole, strict=False)
    assert (logits(plain) - logits(model)).abs().max() < 1e-4 < (logits(qwen_model(TOKENIZER)) - logits(model)).abs().max()
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_merging_scales_by_alpha_over_rank():
    name = "model.layers.0.mlp.up_proj"
    model = adapted(Lora(rank=4, alpha=12))
    a, b = (adapter_weights(model)[f"{name}.lora_{letter}.default.weight"] for letter in "AB")
    difference = merged(model)[f"{name}.weight"] - qwen_model(TOKENIZER).get_parameter(f"{name}.weight")
    assert torch.allclose(difference, 3 * b @ a, atol=1e-6)


def test_transposed_matrices_are_merged_too():
    settings = GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    torch.manual_seed(0)
    plain = GPT2LMHeadModel(settings).eval()
    torch.manual_seed(0)
    model = Lora(rank=2).inject(GPT2LMHeadModel(settings).eval(), 0)
    with torch.no_grad():
        for weight in adapter_weights(model).values():
            weight.fill_(0.05)
    plain.load_state_dict(merged(model), strict=False)
    assert torch.allclose(logits(plain), logits(model), atol=1e-5)


def test_without_its_adapters_it_is_the_model_it_was():
    model = adapted()
    remove_adapters(model)
    assert lora_of(model) is None and not adapter_weights(model)
    assert torch.equal(logits(model), logits(qwen_model(TOKENIZER)))
    remove_adapters(model)  # there is nothing left to remove


def test_a_weight_beside_an_adapter_keeps_its_name():
    plain = named_weights(qwen_model(TOKENIZER))
    model = adapted()
    assert plain.keys() == named_weights(model).keys() - adapter_weights(model).keys()


def test_a_saved_student_is_a_plain_model_with_its_adapters_beside_it(tmp_path):
    from peft import PeftModel

    model = adapted()
    save_pretrained(model, TOKENIZER, tmp_path)
    saved, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.allclose(logits(saved), logits(model), atol=1e-4)
    beside = PeftModel.from_pretrained(qwen_model(TOKENIZER), tmp_path / "adapter")
    assert torch.equal(logits(beside), logits(model))


def test_the_same_student_is_saved_as_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        save_pretrained(adapted(), TOKENIZER, tmp_path / name)
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "first", tmp_path / "second")
    ]
    assert files[0] == files[1]
    settings = json.loads((tmp_path / "first" / "adapter" / "adapter_config.json").read_text())
    assert settings["target_modules"] == sorted(settings["target_modules"])  # a set would differ from process to process


@pytest.mark.parametrize("target", ["q_pro", "lm_head", "self_attn", "embed_tokens", "proj"])
def test_a_target_that_is_no_linear_layer_is_refused_with_those_that_are(target):
    with pytest.raises(
        InputError, match=f"student.lora.target_modules: '{target}' is no linear layer.*choose among q_proj, k_proj"
    ):
        Lora(target_modules=(target,)).check(qwen_model(TOKENIZER))


def test_a_model_without_linear_layers_is_refused():
    model = qwen_model(TOKENIZER)
    model.model.layers = torch.nn.ModuleList()
    with pytest.raises(InputError, match="no linear layer that could have an adapter"):
        Lora().check(model)


def test_a_second_set_of_adapters_is_refused():
    with pytest.raises(ValueError, match="adapters already"):
        Lora().inject(adapted(), 0)


def test_a_missing_peft_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"student.lora: needs the library peft; pip install 'rl_distill\[lora\]'"):
        Lora().check(qwen_model(TOKENIZER))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"rank": 0}, "rank: is 0; give a number not below 1"),
        ({"alpha": 0}, "alpha: is 0; give a number above 0"),
        ({"target_modules": []}, "target_modules: .* give a list of 1 or more"),
        ({"dropout": 0.1}, "dropout: is not a known key"),
    ],
)
def test_bad_values_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        parse(Lora, keys)
