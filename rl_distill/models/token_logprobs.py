"""Log-probs of given tokens over a large vocabulary, with a gradient that is written out.

Autograd would keep the logits of all positions or, with checkpoints, make five arrays of their size for every chunk. Here all
chunks use the same two: to give each of them fresh memory takes a CPU longer than the arithmetic.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def token_logprobs(
    states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, *, temperature: float, chunk_tokens: int
) -> tuple[Tensor, Tensor]:
    """Log-prob of each target and entropy of its distribution, [N] each, of at least float32; the entropy has no gradient.

    Args:
        states: [N, H] last hidden states.
        targets: [N] int64.
        weight, bias: [V, H] and [V] of the output layer.
        temperature: logits are divided by it.
        chunk_tokens: positions whose logits exist at once.
    """
    found: tuple[Tensor, Tensor] = _TokenLogprobs.apply(states, targets, weight, bias, temperature, chunk_tokens)
    return found


def head_logits(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[N, H] states -> [N, V] logits of at least float32. Call it outside of autocast."""
    kind = _wide(states)
    return F.linear(states.to(kind), weight.to(kind), None if bias is None else bias.to(kind))


class _Head(NamedTuple):
    """The output layer, applied to one chunk after another in the same memory."""

    weight: Tensor  # [V, H]
    bias: Tensor | None  # [V]
    temperature: float
    logits: Tensor  # [C, V]

    @classmethod
    def of(cls, states: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, chunk: int) -> "_Head":
        kind = _wide(states)
        logits = torch.empty(min(chunk, len(states)), len(weight), dtype=kind, device=states.device)
        return cls(weight.to(kind), None if bias is None else bias.to(kind), temperature, logits)

    def scaled(self, states: Tensor) -> Tensor:
        """[C, H] -> [C, V] logits over the temperature; the caller may overwrite them."""
        out = torch.mm(states, self.weight.T, out=self.logits[: len(states)])
        if self.bias is not None:
            out += self.bias
        return out.div_(self.temperature) if self.temperature != 1.0 else out


class _TokenLogprobs(torch.autograd.Function):
    """With p the softmax of the logits z over the temperature T and y the target:  d log p_y / d z_v = (1[v = y] - p_v) / T."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, chunk_tokens: int
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(states.device.type, enabled=False):
            head = _Head.of(states, weight, bias, temperature, chunk_tokens)
            logprobs, entropy, normalizers = head.logits.new_empty(3, len(targets))
            powers_of_chunk = torch.empty_like(head.logits)
            for part in _parts(len(targets), chunk_tokens):
                scaled = head.scaled(states[part].to(head.logits.dtype))
                largest = scaled.amax(dim=-1, keepdim=True)
                powers = torch.exp(scaled.sub_(largest), out=powers_of_chunk[: len(scaled)])
                total = powers.sum(dim=-1)
                log_total = total.log()
                normalizers[part] = log_total + largest[:, 0]
                logprobs[part] = scaled.gather(-1, targets[part, None])[:, 0] - log_total
                entropy[part] = log_total - scaled.mul_(powers).sum(dim=-1) / total
        ctx.save_for_backward(states, targets, weight, bias, normalizers)
        ctx.temperature, ctx.chunk_tokens = temperature, chunk_tokens
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        states, targets, weight, bias, normalizers = ctx.saved_tensors
        of_states, _, of_weight, of_bias, *_ = ctx.needs_input_grad
        with torch.autocast(states.device.type, enabled=False):
            head = _Head.of(states, weight, bias, ctx.temperature, ctx.chunk_tokens)
            kind = head.logits.dtype
            states_grad = torch.empty_like(states, dtype=kind) if of_states else None
            weight_grad = torch.zeros_like(weight, dtype=kind) if of_weight else None
            bias_grad = torch.zeros_like(bias, dtype=kind) if of_bias else None
            for part in _parts(len(targets), ctx.chunk_tokens):
                inputs = states[part].to(kind)
                slope = slopes[part, None] / ctx.temperature  # [C, 1]
                grad = head.scaled(inputs).sub_(normalizers[part, None]).exp_().mul_(-slope)  # [C, V]
                grad.scatter_add_(-1, targets[part, None], slope)
                if states_grad is not None:
                    torch.mm(grad, head.weight, out=states_grad[part])
                if weight_grad is not None:
                    torch.addmm(weight_grad, grad.T, inputs, out=weight_grad)
                if bias_grad is not None:
                    bias_grad += grad.sum(dim=0)
        return states_grad, None, weight_grad, bias_grad, None, None


def _wide(states: Tensor) -> torch.dtype:
    return torch.promote_types(states.dtype, torch.float32)


def _parts(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
