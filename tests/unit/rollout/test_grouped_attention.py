import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rl_distill.rollout.grouped_attention import grouped_sdpa


@pytest.mark.parametrize(("heads", "key_heads", "length"), [(6, 2, 1), (4, 1, 1), (4, 4, 1), (6, 2, 5)])
def test_it_equals_attention_over_keys_copied_for_every_head(heads: int, key_heads: int, length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, heads, length, 8, generator=generator)
    key, value = (torch.randn(3, key_heads, 11, 8, generator=generator) for _ in range(2))
    mask = torch.zeros(3, 1, length, 11)
    mask[0, ..., 4:], mask[1, ..., 9:] = -torch.inf, -torch.inf
    module = torch.nn.Module()
    module.num_key_value_groups = heads // key_heads
    ours, _ = grouped_sdpa(module, query, key, value, mask, scaling=0.3)
    theirs, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    assert ours.shape == theirs.shape == (3, length, heads, 8)
    assert torch.allclose(ours, theirs, atol=1e-6)
