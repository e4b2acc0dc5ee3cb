from typing import Any

import pytest
import torch
from torch import Tensor

from rl_distill.models.digest import named_weights
from rl_distill.rollout.weight_loading import copy_weights


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
