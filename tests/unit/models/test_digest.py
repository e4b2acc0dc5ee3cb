import pytest
import torch
from torch import nn

from rl_distill.models.digest import named_weights, weight_digests


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(300, 70, generator=generator), "b": torch.randn(5, generator=generator), "c": torch.tensor(2.0)}


def test_equal_weights_have_equal_digests_in_any_order_and_memory_layout() -> None:
    tensors = weights()
    shuffled = {name: tensors[name].clone() for name in ("c", "a", "b")}
    shuffled["a"] = shuffled["a"].t().contiguous().t()
    assert weight_digests(tensors) == weight_digests(shuffled)


@pytest.mark.parametrize("place", [(0, 0), (299, 69)])
def test_the_first_and_last_element_of_a_large_tensor_count(place: tuple[int, int]) -> None:
    tensors = weights()
    before = weight_digests(tensors)
    tensors["a"][place] += 1e-6
    assert weight_digests(tensors) != before


def test_every_element_of_a_tensor_of_up_to_4096_elements_counts() -> None:
    tensor = torch.zeros(64, 64)
    before = weight_digests({"a": tensor})
    for index in range(0, 4096, 37):
        tensor.view(-1)[index] = 1.0
        assert weight_digests({"a": tensor}) != before
        tensor.view(-1)[index] = 0.0
    assert weight_digests({"a": tensor}) == before


def test_name_shape_dtype_and_swapped_tensors_count() -> None:
    one, two = torch.zeros(4, 6), torch.ones(4, 6)
    digests = [
        weight_digests({"a": one, "b": two}),
        weight_digests({"a": two, "b": one}),
        weight_digests({"a": one, "c": two}),
        weight_digests({"a": one.view(6, 4), "b": two}),
        weight_digests({"a": one.bfloat16(), "b": two}),
        weight_digests({"a": one}),
        weight_digests({"a": one, "b": two, "e": torch.zeros(0)}),
    ]
    assert len({tuple(sorted(one.items())) for one in digests}) == len(digests)


def test_an_optimizer_step_changes_the_digest_in_float32_and_bfloat16() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = nn.Linear(400, 100).to(dtype)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        before = weight_digests(named_weights(model))
        model(torch.randn(8, 400, dtype=dtype)).square().mean().backward()
        optimizer.step()
        assert weight_digests(named_weights(model)) != before


def test_a_tied_parameter_is_named_once_under_its_first_name() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(7, 3)
            self.head = nn.Linear(3, 7, bias=False)
            self.head.weight = self.embedding.weight

    named = named_weights(Tied())
    assert list(named) == ["embedding.weight"] and not named["embedding.weight"].requires_grad
