from typing import Any

import pytest
import torch
from torch import Tensor

from rl_distill.models.digest import named_weights, weight_digests
from rl_distill.models.lora import Lora, adapter_weights, lora_of
from rl_distill.models.weights import WeightUpdate, whole_update
from rl_distill.rollout.weight_loading import copy_weights, take_over


@pytest.fixture
def model(qwen: Any) -> Any:
    copy = type(qwen)(qwen.config)
    copy.load_state_dict(qwen.state_dict())
    return copy


def doubled(model: Any) -> dict[str, Tensor]:
    return {name: 2 * tensor for name, tensor in named_weights(model).items()}


def test_values_are_copied_into_the_models_own_memory(model: Any) -> None:
    tensors, places = doubled(model), [parameter.data_ptr() for parameter in model.parameters()]
    copy_weights(model, tensors)
    assert [parameter.data_ptr() for parameter in model.parameters()] == places
    assert all(torch.equal(parameter, tensors[name]) for name, parameter in model.named_parameters())
    assert not set(places) & {tensor.data_ptr() for tensor in tensors.values()}


def test_a_tied_output_layer_follows_the_embedding(model: Any) -> None:
    tensors = doubled(model)
    assert "lm_head.weight" not in tensors
    copy_weights(model, tensors)
    assert torch.equal(model.lm_head.weight, tensors["model.embed_tokens.weight"])


def test_a_tied_parameter_may_come_under_all_its_names_or_its_other_one(model: Any) -> None:
    tensors = doubled(model)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    copy_weights(model, tensors)
    tensors["lm_head.weight"] = 3 * tensors.pop("model.embed_tokens.weight")
    copy_weights(model, tensors)
    assert torch.equal(model.model.embed_tokens.weight, tensors["lm_head.weight"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "1 do not fit.* missing model.norm.weight"),
        (lambda tensors: tensors.update(extra=torch.zeros(2)), "unexpected extra"),
        (
            lambda tensors: tensors.update({"model.norm.weight": torch.zeros(31)}),
            r"is float32\[31\], .* float32\[32\]",
        ),
        (lambda tensors: tensors.update({"model.norm.weight": torch.zeros(32, dtype=torch.bfloat16)}), r"is bfloat16\[32\]"),
        (lambda tensors: tensors.update({"lm_head.weight": torch.zeros(48, 32)}), "lm_head.weight is tied to .* and differs"),
    ],
    ids=["missing", "unexpected", "shape", "dtype", "untied"],
)
def test_an_update_that_does_not_fit_is_refused_before_anything_is_copied(damage: Any, message: str, model: Any) -> None:
    tensors, before = doubled(model), {name: tensor.clone() for name, tensor in named_weights(model).items()}
    damage(tensors)
    with pytest.raises(ValueError, match=message):
        copy_weights(model, tensors)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_all_faults_are_listed_at_once(model: Any) -> None:
    tensors = doubled(model)
    del tensors["model.norm.weight"], tensors["model.layers.0.mlp.up_proj.weight"]
    tensors["surplus"] = torch.zeros(1)
    with pytest.raises(ValueError, match="3 do not fit.*unexpected surplus.*missing .*up_proj.weight.*missing model.norm"):
        copy_weights(model, tensors)


LORA = Lora(rank=2, target_modules=("q_proj",))


def adapter_update(model: Any, lora: Lora = LORA) -> WeightUpdate:
    """Adapters full of ones, for a copy of the model."""
    copy = type(model)(model.config)
    tensors = {name: torch.ones_like(weight) for name, weight in adapter_weights(lora.inject(copy, 0)).items()}
    return WeightUpdate(version=1, tensors=tensors, digests={}, num_bytes=0, lora=lora)


def test_adapters_are_put_into_a_plain_model_and_leave_its_weights_alone(model: Any) -> None:
    before = weight_digests(named_weights(model))
    take_over(model, adapter_update(model))
    assert lora_of(model) == LORA and all((weight == 1).all() for weight in adapter_weights(model).values())
    assert before.items() <= weight_digests(named_weights(model)).items()
    assert not any(weight.requires_grad for weight in adapter_weights(model).values())


def test_adapters_of_another_scale_replace_those_that_were_there(model: Any) -> None:
    take_over(model, adapter_update(model))
    other = Lora(rank=2, alpha=1.0, target_modules=("q_proj",))
    take_over(model, adapter_update(model, other))
    assert lora_of(model) == other


def test_all_weights_of_a_plain_model_take_adapters_away(model: Any, qwen: Any) -> None:
    take_over(model, adapter_update(model))
    fresh = type(qwen)(qwen.config)
    update = whole_update(fresh, torch.float32)
    take_over(model, update)
    assert lora_of(model) is None
    assert weight_digests(named_weights(model)) == update.digests


@torch.no_grad()
def test_an_update_that_does_not_fit_leaves_what_a_model_with_adapters_computes(model: Any) -> None:
    take_over(model, adapter_update(model))
    ids = torch.arange(3, 9)[None]
    before = model(ids).logits
    update = whole_update(type(model)(model.config), torch.float32)
    del update.tensors["model.norm.weight"]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"1 do not fit.* missing model.norm.weight"):
        take_over(model, update)
    assert torch.equal(model(ids).logits, before)


def test_weights_may_change_while_nothing_records_gradients(model: Any) -> None:
    """An engine that is asked between two steps of decoding puts its adapters in there, and takes new values elsewhere."""
    with torch.inference_mode():
        take_over(model, adapter_update(model))
    take_over(model, adapter_update(model))
    assert lora_of(model) == LORA
