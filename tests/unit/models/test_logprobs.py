"""Chunked log-probs are the plain ones, in bounded memory."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rl_distill.models.loading import Architecture
from rl_distill.models.logprobs import policy_output
from rl_distill.models.token_logprobs import token_logprobs
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


def test_arrays_as_wide_as_the_vocabulary_are_two_forward_and_one_backward_however_many_chunks() -> None:
    """Counted by torch itself. Beside them stand the weights' gradient and whatever is as long as the rows."""
    rows, hidden, words, chunk = 96, 8, 4096, 16
    states = torch.randn(rows, hidden, requires_grad=True)
    weight = torch.randn(words, hidden, requires_grad=True)
    targets = torch.arange(rows)

    class WideArrays(TorchDispatchMode):
        """Those that come into being, and do not lie in an array that an operation was given."""

        def __init__(self) -> None:
            super().__init__()
            self.made = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            given = {one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
            fresh = isinstance(found, torch.Tensor) and found.untyped_storage().data_ptr() not in given
            self.made += fresh and found.numel() >= chunk * words
            return found

    with WideArrays() as forward:
        logprobs, _ = token_logprobs(states, targets, weight, None, temperature=0.5, chunk_tokens=chunk)
    with WideArrays() as backward:
        logprobs.sum().backward()
    assert (forward.made, backward.made) == (2, 1)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("frozen", [False, True], ids=["trained head", "frozen head"])
def test_the_written_out_gradient_is_that_of_differences(biased: bool, frozen: bool) -> None:
    chance = torch.Generator().manual_seed(0)
    states, weight, bias = (torch.randn(*shape, dtype=torch.float64, generator=chance) for shape in ((7, 5), (11, 5), (11,)))
    read = [states.requires_grad_(), weight.requires_grad_(not frozen), bias.requires_grad_(not frozen)][: 2 + biased]
    targets = torch.randint(0, 11, (7,), generator=chance)

    def logprobs(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return token_logprobs(states, targets, weight, bias, temperature=0.7, chunk_tokens=3)[0]

    assert torch.autograd.gradcheck(logprobs, read)


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
