import copy
from collections.abc import Callable
from typing import Any

import pytest
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from rl_distill.errors import InputError
from rl_distill.rollout.engine import Request
from rl_distill.rollout.hf_engine import HfEngine

SMALL = {"vocab_size": 48, "hidden_size": 32, "num_hidden_layers": 2}
DENSE = {**SMALL, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MistralForCausalLM(MistralConfig(**DENSE, sliding_window=8)), "layers of type sliding_attention"),
        (
            lambda: Qwen2ForCausalLM(Qwen2Config(**DENSE, use_sliding_window=True, sliding_window=8, max_window_layers=1)),
            "layers of type sliding_attention",
        ),
        (lambda: MambaForCausalLM(MambaConfig(**SMALL, state_size=4)), "layers of type linear_attention"),
        (lambda: BloomForCausalLM(BloomConfig(vocab_size=48, hidden_size=32, n_layer=2, n_head=4)), "how long its context is"),
        (
            lambda: T5ForConditionalGeneration(T5Config(vocab_size=48, d_model=32, d_ff=64, d_kv=8, num_layers=1, num_heads=4)),
            "is an encoder-decoder",
        ),
    ],
    ids=["mistral", "qwen2-sliding", "mamba", "bloom", "t5"],
)
def test_a_model_that_the_loop_cannot_cache_is_refused(
    build: Callable[[], Any], message: str, engine: Callable[..., HfEngine]
) -> None:
    with pytest.raises(InputError, match=f"student.model: .*{message}"):
        engine(build())


def test_a_model_without_a_sliding_window_in_a_family_that_may_have_one_is_taken(engine: Callable[..., HfEngine]) -> None:
    engine(MistralForCausalLM(MistralConfig(**DENSE, sliding_window=None)))


def test_attention_that_takes_no_mask_of_ours_is_refused(llama: Any, engine: Callable[..., HfEngine]) -> None:
    flexible = LlamaForCausalLM._from_config(copy.deepcopy(llama.config), attn_implementation="flex_attention")
    with pytest.raises(InputError, match="load it with attn_implementation='sdpa'"):
        engine(flexible)


class DeafToPositions(Qwen2ForCausalLM):
    """Counts positions from the cache's length, as a model does that knows no rows of different lengths."""

    def forward(self, *args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class DeafToLogitsToKeep(Qwen2ForCausalLM):
    def forward(self, input_ids: Any, use_cache: bool = True) -> Any:
        return super().forward(input_ids=input_ids, use_cache=use_cache)


def test_a_model_that_decodes_otherwise_than_its_forward_pass_is_found_out(qwen: Any, engine: Callable[..., HfEngine]) -> None:
    deaf = DeafToPositions(qwen.config)
    deaf.load_state_dict(qwen.state_dict())
    with pytest.raises(InputError, match=r"DeafToPositions decoded with a cache is off by .* nats"):
        engine(deaf)


def test_a_model_whose_forward_pass_takes_no_cache_is_refused(qwen: Any, engine: Callable[..., HfEngine]) -> None:
    with pytest.raises(InputError, match="DeafToLogitsToKeep cannot be decoded"):
        engine(DeafToLogitsToKeep(qwen.config))


def test_eager_attention_samples_what_sdpa_samples_and_the_given_model_keeps_its_own(
    llama: Any, engine: Callable[..., HfEngine], uneven_requests: Callable[..., list[Request]]
) -> None:
    expected = engine(llama, max_concurrent=4).generate(uneven_requests(12))
    assert llama.config._attn_implementation == "sdpa"
    llama.set_attn_implementation("eager")
    try:
        made = engine(llama, max_concurrent=4).generate(uneven_requests(12))
        assert llama.config._attn_implementation == "eager"
    finally:
        llama.set_attn_implementation("sdpa")
    assert [one.token_ids for one in made] == [other.token_ids for other in expected]
