"""Chunked log-probs are the plain ones, in bounded memory."""

import pytest
import torch

from rl_distill.models.loading import Architecture
from rl_distill.models.logprobs import policy_output
from rl_distill.models.vocabulary import arithmetic_tokenizer

VOCABULARY = 48
IDS = torch.randint(0, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(0))
ATTENTION = torch.tensor([[1] * 9, [1] * 6 + [0] * 3, [1] * 8 + [0]]).bool()
WANTED = torch.tensor([[0, 0, 1, 1, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 0, 0, 0], [0] * 9]).bool()


@pytest.fixture(scope="module")
def model():
    return Architecture(hidden_size=16, intermediate_size=32, num_layers=2, max_context=32, initializer_range=0.3).build(
        arithmetic_tokenizer()
    )


def plain(model, temperature: float):
    logits = model(input_ids=IDS, attention_mask=ATTENTION.long()).logits.float() / temperature
    logprobs = logits.log_softmax(-1)
    picked = logprobs[:, :-1].gather(-1, IDS[:, 1:, None])[..., 0]
    entropy = -(logprobs.exp() * logprobs).sum(-1)[:, :-1]
    return (torch.nn.functional.pad(column, (1, 0)) * WANTED for column in (picked, entropy))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("chunk_tokens", [1, 4, 100])
def test_chunks_give_the_plain_log_probs_entropy_and_gradient(model, temperature, chunk_tokens):
    out = policy_output(model, IDS, ATTENTION, WANTED, temperature=temperature, chunk_tokens=chunk_tokens)
    logprobs, entropy = plain(model, temperature)
    torch.testing.assert_close(out.logprobs, logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.entropy, entropy, atol=1e-5, rtol=0)
    ours = torch.autograd.grad(out.logprobs.sum(), list(model.parameters()))
    theirs = torch.autograd.grad(logprobs.sum(), list(model.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_what_is_kept_for_the_backward_pass_never_has_tokens_times_vocabulary(model):
    kept: list[int] = []

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel() if tensor.shape[-1:] == (VOCABULARY,) else 0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        out = policy_output(model, IDS, ATTENTION, WANTED, chunk_tokens=2)
    assert out.logprobs.requires_grad
    assert max(kept) <= model.config.hidden_size * VOCABULARY  # the output weights themselves, never [tokens, vocabulary]


def test_no_wanted_token_is_a_batch_of_zeros_that_still_has_a_gradient(model):
    out = policy_output(model, IDS, ATTENTION, torch.zeros_like(WANTED))
    assert not out.logprobs.any()
    out.logprobs.sum().backward()


def test_bfloat16_hidden_states_still_give_float32_log_probs(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = policy_output(model, IDS, ATTENTION, WANTED)
    logprobs, _ = plain(model, 1.0)
    assert out.logprobs.dtype == torch.float32
    torch.testing.assert_close(out.logprobs, logprobs, atol=0.1, rtol=0)
