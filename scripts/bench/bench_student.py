"""The students of the benches: Qwen2s with a tokenizer of whole words, both made on the spot."""

from pathlib import Path
from typing import Any, NamedTuple

VOCABULARY = 4096
EOS = 0


class Shape(NamedTuple):
    """Of a Qwen2."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int


SMALL = Shape(192, 512, 4, 6, 2, VOCABULARY)  # 3.2 million weights


def make_student(folder: Path, shape: Shape = SMALL) -> Path:
    """Its first hidden feature is constant, and EOS reads nothing else: it is never drawn, and no code is patched for that."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from rl_distill.text import CHATML_TEMPLATE

    words = {"<eos>": EOS, "<|im_start|>": 1, "<|im_end|>": 2, **{f"w{index}": index for index in range(3, shape.vocabulary)}}
    plain = Tokenizer(models.WordLevel(words))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<eos>", pad_token="<eos>", padding_side="left")
    tokenizer.chat_template = CHATML_TEMPLATE.replace("<|im_end|>", "<eos>")
    model = qwen2(shape, max_position_embeddings=1024, tie_word_embeddings=False, pad_token_id=EOS)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[EOS] = 0.0
        model.lm_head.weight[EOS, 0] = -10.0
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = EOS
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def qwen2(shape: Shape, **settings: Any) -> Any:
    """Seeded random weights; `settings` are further ones of `Qwen2Config`."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        bos_token_id=None,
        eos_token_id=EOS,
        **settings,
    )
    torch.manual_seed(0)
    return Qwen2ForCausalLM(config)
