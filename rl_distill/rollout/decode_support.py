"""Making a model ready for the decode loop, and refusing one that the loop would sample from wrongly."""

from typing import Any

import torch

from rl_distill.errors import InputError
from rl_distill.rollout.decode_loop import decode_shard
from rl_distill.rollout.engine import Request, Sampling
from rl_distill.rollout.grouped_attention import GROUPED_SDPA

_FULL_PRECISION_TOLERANCE = 1e-3  # nats
_HALF_PRECISION_TOLERANCE = 0.2
_REMEDY = "take a decoder whose layers all attend to everything before"


def prepared_for_decoding(model: Any) -> Any:
    """The same model, frozen, with attention that reads the keys that heads share where they are.

    It is tried out: two short responses are sampled and their log-probs compared with a plain forward pass over the same tokens.
    So a kind of layer, position or cache that the loop does not know ends in an error and not in wrong samples.

    Raises:
        InputError: the loop cannot decode it, by its configuration or by the trial.
    """
    model.requires_grad_(False).eval()
    check_layers(model)
    attention = model.config._attn_implementation
    if attention not in ("sdpa", "eager"):
        problem = f"{_kind(model)} was loaded with {attention} attention, which takes no mask from the hf engine"
        raise InputError("student.model", problem, "load it with attn_implementation='sdpa'")
    try:
        difference = _trial_error(model, GROUPED_SDPA if attention == "sdpa" else attention)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise InputError("student.model", f"{_kind(model)} cannot be decoded by the hf engine ({error})", _REMEDY) from error
    tolerance = _FULL_PRECISION_TOLERANCE if model.dtype in (torch.float32, torch.float64) else _HALF_PRECISION_TOLERANCE
    if not difference <= tolerance:
        problem = f"{_kind(model)} decoded with a cache is off by {difference:.2g} nats from a plain forward pass"
        raise InputError("student.model", problem, _REMEDY)
    return model


def check_layers(model: Any) -> None:
    """Every layer must attend to all that came before, and the length of the context must be known.

    Args:
        model: with or without weights.

    Raises:
        InputError: the loop cannot decode it, by its configuration.
    """
    text_config = model.config.get_text_config()
    layer_types = getattr(text_config, "layer_types", None)
    others = sorted(set(layer_types or ()) - {"full_attention"})
    if not layer_types and getattr(text_config, "sliding_window", None) is not None:
        others = ["sliding_attention"]
    if model.config.is_encoder_decoder:
        raise InputError("student.model", f"{_kind(model)} is an encoder-decoder", "take a causal language model")
    if others:
        problem = f"{_kind(model)} has layers of type {', '.join(others)}, which the hf engine does not cache"
        raise InputError("student.model", problem, _REMEDY)
    if getattr(text_config, "max_position_embeddings", None) is None:
        raise InputError("student.model", f"{_kind(model)} does not say how long its context is", _REMEDY)


def _trial_error(model: Any, attention: str) -> float:
    """Switch the model to `attention`; the largest gap in nats between its log-probs in the loop and in a plain pass before."""
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=4, stop_tokens=())
    vocabulary = model.config.get_text_config().vocab_size
    prompts = [tuple((7919 * token + 1) % vocabulary for token in range(length)) for length in (3, 6)]
    requests = [Request(problem_id="trial", messages=(), token_ids=ids, sampling=sampling, seed=len(ids)) for ids in prompts]
    own = model.config._attn_implementation
    model.set_attn_implementation(attention)
    responses = decode_shard(model, requests, [(), ()], max_concurrent=2, prefill_tokens=64)
    model.set_attn_implementation(own)
    gaps = []
    for prompt, response in zip(prompts, responses, strict=True):
        row = torch.tensor([prompt + response.token_ids], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1]
        plain = torch.log_softmax(logits.float(), -1).gather(1, row[0, len(prompt) :, None])[:, 0]
        gaps.append((plain.cpu() - torch.tensor(response.logprobs)).abs().max())
    model.set_attn_implementation(attention)
    return float(torch.stack(gaps).max())


def _kind(model: Any) -> str:
    return str(type(model).__name__)
