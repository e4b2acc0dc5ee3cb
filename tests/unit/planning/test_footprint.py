"""Memory: against what torch keeps for a backward pass, against the engine's own cache, and against `cluster.memory`."""

from dataclasses import replace

import pytest
import torch

from rl_distill.cluster.memory import ModelSize, rank_memory
from rl_distill.cluster.settings import LearnerPlaces
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.planning.decoding import Batching
from rl_distill.planning.footprint import activation_bytes, cache_bytes, engine_footprint, rank_footprint, rows_that_fit
from rl_distill.planning.learning_cost import MicroBatch
from rl_distill.rollout.decode_cache import SlotCache
from rl_distill.training.model_shape import shape_of

PART = MicroBatch(rows=8, width=64, wanted=300)


def kept_bytes(model, *, precision, checkpointing):
    """What torch keeps of a forward pass for the backward one, weights and their copies left out."""
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {tuple(parameter.shape) for parameter in model.parameters()}
    shapes |= {shape[::-1] for shape in shapes}
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tuple(tensor.shape) not in shapes:
            storages[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    mask = torch.ones(PART.rows, PART.width, dtype=torch.long)
    mask[0, -3:] = 0
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        states = model.base_model(input_ids=torch.ones_like(mask), attention_mask=mask, use_cache=False).last_hidden_state
    assert states.requires_grad
    return sum(size for size, _ in storages.values())


def built(layers, *, hidden=128, inner=384, heads=4, keys=2):
    made = Architecture(
        hidden_size=hidden, intermediate_size=inner, num_layers=layers, num_heads=heads, num_key_value_heads=keys, max_context=64
    )
    return made.build(arithmetic_tokenizer())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("hidden", "inner", "heads", "keys"), [(64, 192, 2, 2), (128, 384, 4, 2), (128, 256, 4, 1)])
def test_activations_are_what_torch_keeps(precision, hidden, inner, heads, keys):
    sizes = [built(layers, hidden=hidden, inner=inner, heads=heads, keys=keys) for layers in (1, 3)]
    kept = [kept_bytes(model, precision=precision, checkpointing=False) for model in sizes]
    shapes = [shape_of(model, ModelSize(trained=1, frozen=0, weight_bytes=4), tensors=1, outgoing_bytes=1) for model in sizes]
    ours = [activation_bytes(shape, PART, precision=precision, checkpointing=False) for shape in shapes]
    assert ours[1] - ours[0] == pytest.approx(kept[1] - kept[0], rel=0.1)  # of two layers; the ends are not counted


def test_recomputed_activations_leave_every_layers_input():
    kept = [kept_bytes(built(layers), precision="float32", checkpointing=True) for layers in (1, 5)]
    assert kept[1] - kept[0] == pytest.approx(4 * PART.rows * PART.width * 128 * 4, rel=0.1)


def test_states_are_those_of_the_cluster(shape):
    for stage in (0, 1, 2, 3):
        places = LearnerPlaces(ranks=4, zero_stage=stage)
        found = rank_footprint(shape, places, PART, precision="float32", checkpointing=False, chunk_tokens=4096)
        assert found.states == rank_memory(shape.size, places).device and found.host == 0
    places = LearnerPlaces(ranks=4, zero_stage=2, offload="optimizer")
    found = rank_footprint(shape, places, PART, precision="float32", checkpointing=False, chunk_tokens=4096)
    assert found.host > rank_memory(shape.size, places).host and found.moved == 0


def test_logits_exist_for_one_chunk_of_wanted_tokens(shape):
    def logits(chunk):
        return rank_footprint(shape, LearnerPlaces(), PART, precision="float32", checkpointing=False, chunk_tokens=chunk).logits

    assert logits(100) == 4 * 4 * 100 * 48 and logits(4096) == 4 * 4 * 300 * 48


def test_the_cache_is_the_engines(shape):
    batching = Batching(engine="hf", max_rows=6, prefill_tokens=64, weight_bytes=4)
    cache = SlotCache(num_layers=2, slots=6, max_width=50, device=torch.device("cpu"))
    states = torch.zeros(6, 2, 1, 32)
    cache.aim(torch.full((6,), 49).numpy())
    for layer in range(2):
        cache.update(states, states, layer)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert cache_bytes(shape, batching, longest=50, mean=20) == held


def test_rows_that_fit_leave_room_for_weights(shape):
    batching = Batching(engine="vllm", max_rows=64, prefill_tokens=64, weight_bytes=2)
    need = engine_footprint(shape, batching, longest=100, mean=100).device
    assert rows_that_fit(shape, batching, longest=100, mean=100, memory=need + 1) == 64
    assert rows_that_fit(shape, batching, longest=100, mean=100, memory=need / 2) < 64
    assert rows_that_fit(shape, batching, longest=100, mean=100, memory=1000) == 0
    half = replace(batching, max_rows=32)
    assert (
        engine_footprint(shape, half, longest=100, mean=100).cache * 2
        == engine_footprint(shape, batching, longest=100, mean=100).cache
    )
