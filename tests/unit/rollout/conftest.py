"""Tiny policies with seeded weights, and requests for them."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.rollout.engine import Request, Sampling
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.trajectory import Message

SIZES = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return arithmetic_tokenizer()


@pytest.fixture(scope="session")
def qwen() -> Any:
    """Tied embeddings, two query heads per key head."""
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=True)).eval()


@pytest.fixture(scope="session")
def llama() -> Any:
    """An output layer of its own, all query heads on one key head."""
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=1, tie_word_embeddings=False)).eval()


@pytest.fixture
def engine(tokenizer: Any) -> Callable[..., HfEngine]:
    def build(model: Any, **settings: Any) -> HfEngine:
        return HfEngine(copy.deepcopy(model), tokenizer, HfEngineConfig(**{"device": "cpu"} | settings), name="policy", version=7)

    return build


@pytest.fixture
def uneven_requests() -> Callable[..., list[Request]]:
    """Groups of three attempts at prompts of 1 to 13 tokens, with limits of 1 to 40 tokens."""

    def build(count: int, **sampling: Any) -> list[Request]:
        requests = []
        for index in range(count):
            prompt = tuple((5 * (index // 3) + 3 * place) % 48 for place in range(1 + (index // 3 * 4) % 13))
            limit = {"max_tokens": 1 + (index * index * 11) % 40}
            requests.append(
                Request(
                    problem_id=f"p{index // 3}",
                    messages=(Message("user", f"problem {index // 3}"),),
                    token_ids=prompt,
                    sampling=Sampling(**limit | sampling),
                    seed=1000 + index,
                )
            )
        return requests

    return build
