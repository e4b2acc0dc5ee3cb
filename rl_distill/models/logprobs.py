"""Token log-probs from float32 logits in chunks. The only place where the next-token shift happens.

The vocabulary is large and the batch is long, so logits never exist for more than `chunk_tokens` positions at a time: each chunk
is recomputed in the backward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rl_distill.batch import PolicyOutput
from rl_distill.errors import InputError


def policy_output(
    model: Any, token_ids: Tensor, attention_mask: Tensor, wanted: Tensor, *, temperature: float = 1.0, chunk_tokens: int = 4096
) -> PolicyOutput:
    """Log-prob and entropy at the wanted tokens; 0 elsewhere.

    Args:
        token_ids, attention_mask, wanted: [B, T]; index t is about token t, and the first token of a row has no log-prob.
        temperature: the sampling temperature; logits are divided by it.
        chunk_tokens: positions whose logits exist at once.
    """
    hidden = model.base_model(
        input_ids=token_ids, attention_mask=attention_mask.long(), use_cache=False
    ).last_hidden_state  # [B, T, H]
    predicts = wanted[:, 1:].reshape(-1).nonzero()[:, 0]  # flat positions t whose token t + 1 is wanted
    states = hidden[:, :-1].flatten(0, 1)[predicts]  # [N, H]
    targets = token_ids[:, 1:].reshape(-1)[predicts]  # [N]
    head = model.get_output_embeddings()
    pieces = [
        _chunk(states[start : start + chunk_tokens], targets[start : start + chunk_tokens], head.weight, head.bias, temperature)
        for start in range(0, len(targets), chunk_tokens)
    ]
    logprobs, entropy = (torch.cat(column) for column in zip(*pieces, strict=True)) if pieces else (states.sum(-1),) * 2
    return PolicyOutput(_scatter(logprobs, predicts, wanted), _scatter(entropy.detach(), predicts, wanted))


def check_head(model: Any, *, tolerance: float = 2e-2) -> None:
    """Refuse a model whose logits are more than its output embeddings applied to its last hidden state.

    A soft cap or a logit scale would otherwise be left out silently. `tolerance` is relative to the spread of the logits.
    """
    device = next(model.parameters()).device
    probe = torch.arange(1, 9, device=device)[None, :] % model.config.vocab_size
    with torch.no_grad():
        logits = model(input_ids=probe, use_cache=False).logits.float()
        head = model.get_output_embeddings()
        hidden = model.base_model(input_ids=probe, use_cache=False).last_hidden_state
        ours = F.linear(hidden.float(), head.weight.float(), None if head.bias is None else head.bias.float())
    gap = (ours - logits).abs().max() / logits.std().clamp(min=1e-6)
    if not gap <= tolerance:
        raise InputError(
            "student.model",
            f"{type(model).__name__} changes its logits after the output layer (relative gap {gap.item():.2g})",
            "use an architecture without logit scaling or soft caps",
        )


def _chunk(states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> tuple[Tensor, Tensor]:
    if not torch.is_grad_enabled():
        return _token_logprobs(states, targets, weight, bias, temperature)
    out = checkpoint(_token_logprobs, states, targets, weight, bias, temperature, use_reentrant=False, preserve_rng_state=False)
    return out


def _token_logprobs(
    states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, temperature: float
) -> tuple[Tensor, Tensor]:
    """[N, H] states -> log-prob of the targets [N] and entropy [N], both from logits of at least float32."""
    kind = torch.promote_types(states.dtype, torch.float32)
    with torch.autocast(states.device.type, enabled=False):
        logits = F.linear(states.to(kind), weight.to(kind), None if bias is None else bias.to(kind)) / temperature  # [N, V]
        logprobs = logits.log_softmax(dim=-1)
        with torch.no_grad():
            entropy = -(logprobs.exp() * logprobs).sum(dim=-1)
        return logprobs.gather(-1, targets[:, None])[:, 0], entropy


def _scatter(values: Tensor, predicts: Tensor, wanted: Tensor) -> Tensor:
    rows, width = wanted.shape
    flat = values.new_zeros(rows * (width - 1)).index_put((predicts,), values)
    return F.pad(flat.view(rows, width - 1), (1, 0))
