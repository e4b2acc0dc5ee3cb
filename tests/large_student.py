"""A model whose configuration says that it is large, and that has no weights: for what is told by sizes alone."""

import json
from pathlib import Path

from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer


def large_student(folder: Path, **changes: object) -> str:
    """A folder of a Llama with 2e12 weights, or with other settings."""
    small = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, num_key_value_heads=1, max_context=160)
    save_pretrained(small.build(arithmetic_tokenizer()), arithmetic_tokenizer(), folder)
    (folder / "model.safetensors").unlink()
    path = folder / "config.json"
    large = {
        "hidden_size": 2**16,
        "intermediate_size": 2**18,
        "num_hidden_layers": 32,
        "num_attention_heads": 512,
        "head_dim": 128,
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | large | changes))
    return str(folder)
