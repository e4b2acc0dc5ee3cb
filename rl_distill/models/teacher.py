"""What a teacher says about the next token: its most likely tokens or draws from it, in chunks, without a gradient."""

from typing import Any

import torch
from torch import Tensor

from rl_distill.batch import Candidates
from rl_distill.models.logprobs import at_candidates, predicting
from rl_distill.models.token_logprobs import head_logits


@torch.no_grad()
def teacher_candidates(
    model: Any,
    token_ids: Tensor,
    attention_mask: Tensor,
    wanted: Tensor,
    *,
    candidates: Candidates,
    vocabulary: int,
    draws: Tensor | None = None,
    chunk_tokens: int = 512,
) -> tuple[Tensor, Tensor]:
    """Candidates in the place of each wanted token, [B, T, K], and their log-probs, [B, T, K] or [B, T, K + 1]; 0 elsewhere.

    The most likely tokens come with the log-prob of all others at the end, unless there are no others; draws come without.

    Args:
        token_ids, attention_mask, wanted: [B, T].
        vocabulary: rows of the student's embedding. Those that only the teacher has pad its own, and are left out of its softmax.
        draws: [B, T, K] numbers from [0, 1), where candidates are drawn: their places in the cumulated probabilities.
        chunk_tokens: positions whose logits exist at once.
    """
    found = predicting(model, token_ids, attention_mask, wanted)
    head = model.get_output_embeddings()
    rows = min(vocabulary, head.weight.shape[0])
    weight, bias = head.weight[:rows], None if head.bias is None else head.bias[:rows]
    # A student with more rows than the teacher puts some mass there, which the rest must be able to hold.
    count = min(candidates.count, rows if rows == vocabulary else rows - 1)
    noise = None if draws is None else found.shifted(draws)
    pieces = []
    for start in range(0, max(1, len(found.places)), chunk_tokens):
        part = slice(start, start + chunk_tokens)
        with torch.autocast(token_ids.device.type, enabled=False):
            logprobs = (head_logits(found.states[part], weight, bias) / candidates.temperature).log_softmax(dim=-1)
        ids = logprobs.topk(count, dim=-1).indices if noise is None else _drawn(logprobs, noise[part])
        pieces.append((ids, at_candidates(logprobs, ids, with_rest=noise is None and count < rows)))
    ids, columns = (torch.cat(column) for column in zip(*pieces, strict=True))
    return found.spread(ids), found.spread(columns)


def _drawn(logprobs: Tensor, noise: Tensor) -> Tensor:
    """Ids from [N, V] log-probs by inverting their cumulated probabilities at [N, K] places in [0, 1)."""
    cumulated = logprobs.double().exp().cumsum(dim=-1)
    return torch.searchsorted(cumulated, noise * cumulated[:, -1:], right=True).clamp(max=logprobs.shape[-1] - 1)
