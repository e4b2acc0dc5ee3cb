"""A tiny model folder of the shape of Qwen2.5-Math's, and a file of the shape of OpenR1-Math-Raw."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rl_distill.models.loading import save_pretrained
from rl_distill.models.vocabulary import byte_bpe_tokenizer

OWN_CONTEXT, OWN_THETA = 64, 10_000.0
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
# Without a system turn it prints one of its own; assistant turns are printed whole.
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen_tokenizer() -> Any:
    """A base model's: its end of text is not its end of turn."""
    tokenizer = byte_bpe_tokenizer([SYSTEM, "What is 2 + 2?\n", "<think>\nOkay, 2 + 2.\n</think>\n\nIt is \\boxed{4}."] * 5, 400)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def qwen_model(tokenizer: Any, rope_theta: float = OWN_THETA, context: int = OWN_CONTEXT) -> Any:
    """The same weights, whatever the base and the context."""
    settings = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2ForCausalLM(settings).eval()


def qwen_folder(folder: Path) -> Path:
    """Saved, with the configuration in the form in which Qwen2.5's are published: `rope_theta` as a key of its own."""
    tokenizer = qwen_tokenizer()
    save_pretrained(qwen_model(tokenizer), tokenizer, folder)
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    del settings["rope_parameters"], settings["layer_types"]
    published = {"rope_theta": OWN_THETA, "sliding_window": OWN_CONTEXT, "use_sliding_window": False, "max_window_layers": 2}
    path.write_text(json.dumps(settings | published))
    return folder


def openr1_file(path: Path, num_problems: int) -> Path:
    """Problems with a wrong and then two right attempts each; one more that is left out."""
    rows = [_openr1_row(number, "cn_k12" if number == num_problems else "olympiads") for number in range(num_problems + 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _openr1_row(number: int, source: str) -> dict[str, Any]:
    results = (number + 1, number + 2, number + 2)
    labels = [False, True, True]
    return {
        "problem": f"What is {number} + 2?",
        "solution": f"{number + 2}",
        "answer": f"{number + 2}",
        "problem_is_valid": "Yes",
        "source": source,
        "generations": [f"<think>\nOkay, {number} + 2.\n</think>\n\nIt is \\boxed{{{result}}}." for result in results],
        "correctness": {"llama_verification": labels, "math_verify": labels, "math_verify_reparsed_answer": labels},
    }
