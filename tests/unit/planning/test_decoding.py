"""Sampling a shard: counted by hand, and as the engine really steps."""

import pytest

from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.planning.decoding import Batching, prefill_work, shard_work
from rl_distill.planning.hardware import gpu
from rl_distill.planning.work import Speed, Work, decode_speed, seconds
from rl_distill.rollout.engine import Request, Sampling
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig


def batching(engine="hf", max_rows=128, prefill_tokens=8192):
    return Batching(engine=engine, max_rows=max_rows, prefill_tokens=prefill_tokens, weight_bytes=4)


def test_seconds_are_overhead_and_the_higher_of_two_roofs():
    speed = Speed(pass_seconds=1.0, layer_seconds=0.5, value_seconds=0.25, flops=10.0, bandwidth=100.0)
    assert seconds(Work(passes=2, layers=4, values=8, flops=50, bytes=100), speed) == 2 + 2 + 2 + 5
    assert seconds(Work(flops=50, bytes=1000), speed) == 10


def test_one_row_by_hand(shape):
    """Three tokens after a prompt of ten: contexts 11, 12 and 13, whose middle is 12; every step reads all weights."""
    decoded = shard_work(shape, batching("vllm"), [3], prompt=10, group_size=1)
    prefilled = prefill_work(shape, batching("vllm"), 1, 10)
    weights = shape.body + shape.head
    assert decoded.passes - prefilled.passes == 3 and decoded.layers - prefilled.layers == 6
    assert decoded.flops - prefilled.flops == 3 * (2 * weights + 4 * 2 * 64 * 12)
    assert decoded.bytes - prefilled.bytes == 3 * 4 * (weights + 2 * 2 * 64 * 12)


def test_a_shard_takes_the_steps_of_its_longest_row(shape):
    for engine in ("hf", "vllm"):
        work = shard_work(shape, batching(engine), [5, 40, 7], prompt=10, group_size=3)
        assert work.passes == 40 + 1


def test_rows_that_wait_take_over_from_those_that_end(shape):
    work = shard_work(shape, batching("vllm", max_rows=2), [10, 30, 20], prompt=1, group_size=3)
    assert work.passes == 30 + 1
    work = shard_work(shape, batching("vllm", max_rows=1), [10, 30, 20], prompt=1, group_size=3)
    assert work.passes == 60 + 1


def test_a_prompt_that_attempts_share_is_computed_once(shape):
    one, four = (prefill_work(shape, batching(), count, 100) for count in (1, 4))
    assert four.flops == 4 * one.flops
    together = shard_work(shape, batching(), [1] * 4, prompt=100, group_size=4)
    apart = shard_work(shape, batching(), [1] * 4, prompt=100, group_size=1)
    assert apart.flops - together.flops == 3 * one.flops


@pytest.mark.parametrize("engine", ["hf", "vllm"])
def test_longer_is_never_faster_and_more_rows_never_need_more_steps(shape, engine):
    speed = decode_speed(gpu("H100"), engine=engine, dtype="float32")
    taken = [
        seconds(
            shard_work(shape, batching(engine), [scale * length for length in (3, 9, 4, 17, 6)], prompt=8, group_size=5), speed
        )
        for scale in (1, 2, 4, 8)
    ]
    assert taken == sorted(taken)
    lengths = [7, 30, 12, 45, 3, 22, 9, 18] * 4
    steps = [shard_work(shape, batching(engine, max_rows=rows), lengths, prompt=8, group_size=4).passes for rows in (2, 4, 8, 32)]
    assert steps == sorted(steps, reverse=True)


@pytest.mark.parametrize("rows", [2, 9, 40])
@pytest.mark.parametrize("max_concurrent", [4, 128])
def test_the_engine_makes_as_many_steps_as_are_counted(shape, rows, max_concurrent):
    tokenizer = arithmetic_tokenizer()
    model = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=64).build(tokenizer)
    engine = HfEngine(model, tokenizer, HfEngineConfig(max_concurrent=max_concurrent), name="e")
    made = []
    engine.before_step = lambda: made.append(1)
    requests = [
        Request(problem_id="p", messages=(), token_ids=(3, 4, 5), sampling=Sampling(max_tokens=32), seed=seed)
        for seed in range(rows)
    ]
    lengths = [attempt.num_sampled for attempt in engine.generate(requests)]
    work = shard_work(shape, batching(max_rows=max_concurrent), lengths, prompt=3, group_size=rows)
    assert len(set(lengths)) > 1, "rows end at different steps"
    assert work.passes == len(made) + 1
