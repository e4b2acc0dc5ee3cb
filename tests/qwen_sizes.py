"""Students of the shapes of Qwen2.5's 0.5B and 1.5B with random weights, for what is tried on a GPU."""

from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

_SHARED = {"vocab_size": 151_936, "num_key_value_heads": 2, "max_position_embeddings": 1024, "tie_word_embeddings": True}
SHAPES: dict[str, dict[str, Any]] = {
    "0.5b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12},
}


def qwen_of_size(size: str) -> Any:
    return Qwen2ForCausalLM(Qwen2Config(**_SHARED | SHAPES[size])).to(torch.bfloat16)
