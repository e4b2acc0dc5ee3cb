"""Token log-probs from float32 logits in chunks. The only place where the next-token shift happens.

The vocabulary is large and the batch is long, so logits never exist for more than `chunk_tokens` positions at a time: each chunk
is computed again in the backward pass.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rl_distill.batch import Compared, PolicyOutput
from rl_distill.errors import InputError
from rl_distill.models.token_logprobs import head_logits, token_logprobs


class Predicting(NamedTuple):
    """The positions of a batch whose next token is wanted, and what the model predicts it from."""

    states: Tensor  # [N, H] last hidden states
    places: Tensor  # [N] flat positions t of [B, T - 1] whose token t + 1 is wanted
    wanted: Tensor  # [B, T] bool

    def shifted(self, values: Tensor) -> Tensor:
        """What stands at the wanted tokens: [B, T, ...] -> [N, ...]."""
        return values[:, 1:].flatten(0, 1)[self.places]

    def spread(self, values: Tensor) -> Tensor:
        """Values back at the tokens they are about, 0 elsewhere: [N, ...] -> [B, T, ...]."""
        rows, width = self.wanted.shape
        flat = values.new_zeros(rows * (width - 1), *values.shape[1:]).index_put((self.places,), values)
        return F.pad(flat.view(rows, width - 1, *values.shape[1:]), (0, 0) * (values.dim() - 1) + (1, 0))


def predicting(model: Any, token_ids: Tensor, attention_mask: Tensor, wanted: Tensor) -> Predicting:
    """Run a model without its output layer. Arguments are those of `policy_output`."""
    hidden = model.base_model(
        input_ids=token_ids, attention_mask=attention_mask.long(), use_cache=False
    ).last_hidden_state  # [B, T, H]
    places = wanted[:, 1:].reshape(-1).nonzero()[:, 0]
    return Predicting(hidden[:, :-1].flatten(0, 1)[places], places, wanted)


def policy_output(
    model: Any,
    token_ids: Tensor,
    attention_mask: Tensor,
    wanted: Tensor,
    *,
    temperature: float = 1.0,
    chunk_tokens: int = 512,
    compared: Compared | None = None,
) -> PolicyOutput:
    """Log-prob and entropy at the wanted tokens, and if asked log-probs of other tokens in their place; 0 elsewhere.

    Args:
        token_ids, attention_mask, wanted: [B, T]; index t is about token t, and the first token of a row has no log-prob.
        temperature: the sampling temperature; logits are divided by it.
        chunk_tokens: positions whose logits exist at once.
        compared: tokens whose log-probs are read too, at a temperature of their own.
    """
    found = predicting(model, token_ids, attention_mask, wanted)
    targets = found.shifted(token_ids)  # [N]
    candidates = None if compared is None else found.shifted(compared.ids)  # [N, K]
    head = model.get_output_embeddings()
    if compared is None:
        logprobs, entropy = token_logprobs(
            found.states, targets, head.weight, head.bias, temperature=temperature, chunk_tokens=chunk_tokens
        )
        return PolicyOutput(found.spread(logprobs), found.spread(entropy))
    candidates = found.shifted(compared.ids)  # [N, K]
    pieces = []
    for start in range(0, max(1, len(targets)), chunk_tokens):
        part = slice(start, start + chunk_tokens)
        asked = compared._replace(ids=candidates[part])
        pieces.append(_compared(found.states[part], targets[part], head.weight, head.bias, temperature, asked))
    logprobs, entropy, others = (torch.cat(column) for column in zip(*pieces, strict=True))
    return PolicyOutput(found.spread(logprobs), found.spread(entropy.detach()), found.spread(others))


def at_candidates(logprobs: Tensor, ids: Tensor, *, with_rest: bool) -> Tensor:
    """[N, V] log-probs -> [N, K] of the candidates, or [N, K + 1] with the log of the mass of all other tokens at the end.

    The rest is summed up itself: as 1 - sum it would be lost to rounding where it is small.
    """
    picked = logprobs.gather(-1, ids)
    if not with_rest:
        return picked
    rest = logprobs.scatter(-1, ids, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return torch.cat([picked, rest], dim=-1)


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


def _compared(
    states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, asked: Compared
) -> tuple[Tensor, ...]:
    """A chunk's columns. Candidates may be any number at a temperature of their own: autograd's gradient, from a checkpoint."""
    if not torch.is_grad_enabled():
        return _candidate_logprobs(states, targets, weight, bias, temperature, asked)
    out: tuple[Tensor, ...] = checkpoint(
        _candidate_logprobs, states, targets, weight, bias, temperature, asked, use_reentrant=False, preserve_rng_state=False
    )
    return out


def _candidate_logprobs(
    states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, asked: Compared
) -> tuple[Tensor, ...]:
    """[N, H] states -> log-prob of the targets [N], entropy [N], and [N, K] or [N, K + 1] of the candidates."""
    with torch.autocast(states.device.type, enabled=False):
        logits = head_logits(states, weight, bias)  # [N, V]
        logprobs = (logits / temperature).log_softmax(dim=-1)
        with torch.no_grad():
            entropy = -(logprobs.exp() * logprobs).sum(dim=-1)
        soft = logprobs if asked.temperature == temperature else (logits / asked.temperature).log_softmax(dim=-1)
        picked = logprobs.gather(-1, targets[:, None])[:, 0]
        return picked, entropy, at_candidates(soft, asked.ids, with_rest=asked.with_rest)
