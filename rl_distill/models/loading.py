"""A tokenizer and a causal language model from a folder or the Hugging Face hub, or a small one built from a seed."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.models.logprobs import check_head
from rl_distill.models.lora import ADAPTER_FOLDER, lora_of, merged, save_adapter
from rl_distill.text import end_of_turn_ids


@config
class Architecture:
    """A small model built from a seed: Llama, which is Qwen2 without the attention bias.

    Not Qwen2 itself: `AutoTokenizer` gives every folder of that type Qwen2's own tokenizer, whatever is saved there.
    """

    seed: int = setting(0, about="seed of the initial weights and of the pretraining")
    hidden_size: int = setting(64, about="width", ge=1)
    intermediate_size: int = setting(192, about="width of the MLP", ge=1)
    num_layers: int = setting(3, about="depth", ge=1)
    num_heads: int = setting(2, about="attention heads", ge=1)
    num_key_value_heads: int = setting(2, about="key and value heads", ge=1)
    max_context: int = setting(512, about="longest sequence", unit="tokens", ge=2)
    rope_theta: float = setting(10_000.0, about="base of the rotary position code", gt=0)
    initializer_range: float = setting(0.02, about="standard deviation of the initial weights", gt=0)

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"num_heads {self.num_heads} does not cut hidden_size {self.hidden_size} into even parts: change one of them"
            )
        if self.num_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads {self.num_key_value_heads} does not divide num_heads {self.num_heads}: change one"
            )

    def build(self, tokenizer: Any) -> Any:
        """The model with its initial weights: a function of this record and the tokenizer's size."""
        from transformers import LlamaConfig, LlamaForCausalLM

        settings = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            num_key_value_heads=self.num_key_value_heads,
            max_position_embeddings=self.max_context,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            initializer_range=self.initializer_range,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return LlamaForCausalLM(settings).eval()


def load_tokenizer(name_or_path: str, *, field: str = "student.model") -> Any:
    """A tokenizer that has a pad token, and a chat template whose turns end.

    Without a pad token EOS pads. That is safe: masks are made from lengths and never by comparing ids, so a sampled EOS keeps its
    loss.

    Args:
        field: the recipe key to name in an error.

    Raises:
        InputError: there is none at that path or name, or it lacks what a run needs.
    """
    tokenizer = saved_tokenizer(name_or_path, field=field)
    if tokenizer.eos_token_id is None:
        raise InputError(field, f"the tokenizer of {name_or_path!r} has no EOS token", "set `eos_token` and save it again")
    if not tokenizer.chat_template:
        raise InputError(field, f"the tokenizer of {name_or_path!r} has no chat template", "set one and save it again")
    end_of_turn_ids(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def saved_tokenizer(name_or_path: str, *, field: str = "student.model") -> Any:
    """The tokenizer at a path or name as it was saved, whatever it has or lacks.

    Args:
        field: the recipe key to name in an error.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = _from_pretrained(AutoTokenizer, name_or_path, field)
    saved = Path(name_or_path).expanduser() / "tokenizer.json"
    if saved.is_file() and not _encodes_like(tokenizer, saved):
        # transformers may put the model type's usual tokenizer in place of the one that lies there
        tokenizer = _from_pretrained(PreTrainedTokenizerFast, name_or_path, field)
    return tokenizer


def load_settings(name_or_path: str, *, field: str = "student.model") -> Any:
    """The configuration that a model was saved with, in the present library's format.

    Args:
        field: the recipe key to name in an error.
    """
    from transformers import AutoConfig

    return _from_pretrained(AutoConfig, name_or_path, field)


def load_model(name_or_path: str, *, field: str = "student.model", settings: Any = None) -> Any:
    """A causal language model, in float32, whose logits this package can compute in chunks.

    Args:
        field: the recipe key to name in an error.
        settings: a configuration to load it with; none is the one it was saved with.
    """
    from transformers import AutoModelForCausalLM

    changed = {} if settings is None else {"config": settings}
    model, report = _from_pretrained(
        AutoModelForCausalLM, name_or_path, field, dtype=torch.float32, output_loading_info=True, **changed
    )
    if missing := sorted(report["missing_keys"]):
        problem = f"{name_or_path!r} lacks {len(missing)} of the model's weights, such as {missing[0]!r}, which would be random"
        raise InputError(field, problem, "save the whole causal language model again")
    check_head(model)
    remove_dropout(model.modules())
    model.get_input_embeddings().padding_idx = None  # where EOS pads it would keep the gradient from an EOS that was sampled
    return model.eval()


def skeleton(settings: Any) -> Any:
    """The model of a configuration without memory, on the meta device: layers, names and shapes."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(settings)


def max_context(name_or_path: str, *, field: str = "student.model") -> int:
    """The longest sequence a model was made for, in tokens."""
    return context_of(load_settings(name_or_path, field=field))


def context_of(settings: Any) -> int:
    """The longest sequence in a model's configuration, in tokens; 2**31 where it names none."""
    return int(getattr(settings.get_text_config(), "max_position_embeddings", None) or 2**31)


def save_pretrained(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a folder that `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained` load.

    A model with adapters is written merged, as a plain one, and the adapters beside it in `adapter/`, in PEFT's format. The
    `generation_config.json` names the tokens that end a turn, so that other programs stop where this student learnt to.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    if not torch.cuda.is_available():  # transformers looks for DeepSpeed's wrapper here, and importing that would print a line
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    ends = end_of_turn_ids(tokenizer)
    model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else list(ends)
    if lora_of(model) is None:
        model.save_pretrained(folder)
    else:
        model.save_pretrained(folder, state_dict=merged(model))
        save_adapter(model, folder / ADAPTER_FOLDER)
    tokenizer.save_pretrained(folder)


def remove_dropout(modules: Iterable[Any]) -> None:
    """RL and pair losses compare log-probs of the same tokens, which dropout would blur; REDI turns it off too."""
    for module in modules:
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def _encodes_like(tokenizer: Any, saved: Path) -> bool:
    """Whether a tokenizer gives the ids that the saved one gives, on text with numbers, symbols and spaces."""
    from tokenizers import Tokenizer

    probes = ("15 - 9 + 4 = ?", "Step 1:  x^2 = 144,\n\nso it's 12. <think> \\boxed{12} </think>")
    raw = Tokenizer.from_file(str(saved))

    def ids(encode: Callable[[str], list[int]], text: str) -> list[int] | None:
        try:
            return encode(text)
        except Exception:  # what `tokenizers` raises for a word that a closed vocabulary lacks
            return None

    return all(
        ids(lambda text: raw.encode(text, add_special_tokens=False).ids, probe)
        == ids(lambda text: tokenizer.encode(text, add_special_tokens=False), probe)
        for probe in probes
    )


def _from_pretrained(factory: Any, name_or_path: str, field: str = "student.model", **options: Any) -> Any:
    from transformers.utils import logging

    logging.disable_progress_bar()  # the run has a display of its own
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        name_or_path = str(folder)
        if not any(folder.glob("*.json")):
            raise InputError(
                field, f"{name_or_path!r} holds no model", "give its folder; in a run that is final/ or stages/NAME/student"
            )
    elif folder.is_absolute() or name_or_path.startswith((".", "~")) or name_or_path.count("/") > 1:
        raise InputError(field, f"there is no folder {name_or_path!r}", "give a folder in Hugging Face format, or a hub name")
    try:
        return factory.from_pretrained(name_or_path, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        remedy = "give a folder in Hugging Face format, or a hub name this machine reaches"
        raise InputError(field, f"{name_or_path!r} cannot be loaded ({reason})", remedy) from error
