"""Attention of one new token per row whose query heads share keys and values, without copying those for every head."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROUPED_SDPA = "rl_distill_grouped_sdpa"


def grouped_sdpa(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """As transformers' sdpa. Where a row has one query, the heads of a group become the queries of their one key head.

    Args:
        query: [B, H, T, D]; key, value: [B, K, W, D], where H is a multiple of K.
        attention_mask: None or additive [B, 1, T, W].

    Returns:
        [B, T, H, D] and None.
    """
    groups = query.shape[1] // key.shape[1]
    if groups == 1 or query.shape[2] > 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    queries = query.reshape(query.shape[0], key.shape[1], groups, query.shape[3])  # [B, K, H / K, D]
    mask = None if attention_mask is None else attention_mask.expand(-1, -1, groups, -1)
    out = F.scaled_dot_product_attention(queries, key, value, attn_mask=mask, scale=kwargs.get("scaling"))
    return out.flatten(1, 2)[:, None], None


AttentionInterface.register(GROUPED_SDPA, grouped_sdpa)
AttentionMaskInterface.register(GROUPED_SDPA, sdpa_mask)
