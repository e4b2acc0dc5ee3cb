import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from rl_distill.rollout.decode_cache import SlotCache

HEADS, KEY_DIM, VALUE_DIM, LAYERS = 2, 4, 3, 2


def slot_cache(slots: int = 4, max_width: int = 200) -> SlotCache:
    return SlotCache(num_layers=LAYERS, slots=slots, max_width=max_width, device=torch.device("cpu"))


def states(rows: int, length: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, HEADS, length, KEY_DIM), torch.randn(rows, HEADS, length, VALUE_DIM)


def append(cache: SlotCache, columns: list[int], fed: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    cache.aim(np.array(columns))
    return [cache.update(*fed, layer) for layer in range(LAYERS)]


def prefilled(rows: int, length: int) -> DynamicCache:
    cache = DynamicCache()
    for layer in range(LAYERS):
        cache.update(*states(rows, length), layer)
    return cache


def test_a_token_goes_to_its_own_column_of_its_row_and_changes_nothing_else() -> None:
    cache = slot_cache()
    first, second = states(3, 1), states(3, 1)
    append(cache, [0, 5, 9], first)
    for read in append(cache, [1, 5, 10], second):
        for stored, one, two in zip(read, first, second, strict=True):
            assert stored.shape[2] >= 11
            expected = torch.zeros_like(stored)
            expected[0, :, 0], expected[2, :, 9] = one[0, :, 0], one[2, :, 0]
            expected[0, :, 1], expected[1, :, 5], expected[2, :, 10] = two[0, :, 0], two[1, :, 0], two[2, :, 0]
            assert torch.equal(stored, expected)


def test_growth_keeps_what_was_written_and_is_bounded_by_the_longest_sequence() -> None:
    cache = slot_cache(max_width=100)
    history: list[tuple[Tensor, Tensor]] = []
    for column in range(100):
        history.append(states(2, 1))
        read = append(cache, [column, column], history[-1])
    for keys, values in read:
        assert torch.equal(keys[:, :, :100], torch.cat([fed[0] for fed in history], 2))
        assert torch.equal(values[:, :, :100], torch.cat([fed[1] for fed in history], 2))
    assert cache.get_max_length() == 112  # 100 in whole steps of 16


def test_memory_is_taken_as_sequences_grow() -> None:
    cache = slot_cache(max_width=4096)
    append(cache, [3, 20], states(2, 1))
    assert cache.get_max_length() < 128


def test_a_prefilled_prompt_is_copied_to_every_slot_that_shares_it() -> None:
    cache, prompts = slot_cache(), prefilled(2, 7)
    append(cache, [40, 2, 3, 4], states(4, 1))
    cache.fill(np.array([3, 0, 1]), prompts, np.array([0, 1, 0]))
    fed = states(4, 1)
    for (keys, values), layer in zip(append(cache, [7, 7, 5, 7], fed), prompts.layers, strict=True):
        for slot, source in ((3, 0), (0, 1), (1, 0)):
            assert torch.equal(keys[slot, :, :7], layer.keys[source])
            assert torch.equal(values[slot, :, :7], layer.values[source])


def test_a_prompt_wider_than_the_columns_in_use_survives_a_move() -> None:
    cache, prompts = slot_cache(), prefilled(1, 60)
    append(cache, [0, 1, 2, 3], states(4, 1))
    cache.fill(np.array([3]), prompts, np.array([0]))
    cache.move(np.array([3]), np.array([1]))
    for (keys, values), layer in zip(append(cache, [4, 60], states(2, 1)), prompts.layers, strict=True):
        assert torch.equal(keys[1, :, :60], layer.keys[0])
        assert torch.equal(values[1, :, :60], layer.values[0])


@pytest.mark.parametrize("columns", [[0, 0], [17, 3]])
def test_attention_reads_every_column_in_use_and_finite_values_beyond(columns: list[int]) -> None:
    cache = slot_cache()
    for keys, values in append(cache, columns, states(2, 1)):
        assert keys.shape[2] == values.shape[2] == cache.aim(np.array(columns)) > max(columns)
        assert bool(keys.isfinite().all()) and bool(values.isfinite().all())
