"""The student of the benches: a Qwen2 of 3.2 million weights with a tokenizer of 4,096 words, both made on the spot."""

from pathlib import Path

VOCABULARY = 4096
EOS = 0


def make_student(folder: Path) -> Path:
    """Its first hidden feature is constant, and EOS reads nothing else: it is never drawn, and no code is patched for that."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    from rl_distill.text import CHATML_TEMPLATE

    words = {"<eos>": EOS, "<|im_start|>": 1, "<|im_end|>": 2, **{f"w{index}": index for index in range(3, VOCABULARY)}}
    plain = Tokenizer(models.WordLevel(words))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<eos>", pad_token="<eos>", padding_side="left")
    tokenizer.chat_template = CHATML_TEMPLATE.replace("<|im_end|>", "<eos>")
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        eos_token_id=EOS,
        pad_token_id=EOS,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[EOS] = 0.0
        model.lm_head.weight[EOS, 0] = -10.0
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = EOS
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
