"""A teacher's candidates: chunked they are the plain ones, all of them give the exact divergence, draws are unbiased."""

import pytest
import torch

from rl_distill.algorithms.divergences import generalized_jsd
from rl_distill.algorithms.soft_targets import divergence
from rl_distill.batch import Batch, Candidates, Compared, PolicyOutput
from rl_distill.models.loading import Architecture
from rl_distill.models.logprobs import policy_output
from rl_distill.models.teacher import teacher_candidates
from rl_distill.models.vocabulary import arithmetic_tokenizer

VOCABULARY = 48
IDS = torch.randint(0, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(0))
ATTENTION = torch.tensor([[1] * 9, [1] * 6 + [0] * 3, [1] * 8 + [0]]).bool()
WANTED = torch.tensor([[0, 0, 1, 1, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 0, 0, 0], [0] * 9]).bool()


def model_of(seed: int, hidden_size: int):
    shape = Architecture(
        seed=seed, hidden_size=hidden_size, intermediate_size=32, num_layers=2, max_context=32, initializer_range=0.3
    )
    return shape.build(arithmetic_tokenizer()).double()


TEACHER, STUDENT = model_of(1, 32), model_of(2, 16)


def distributions(model, temperature: float) -> torch.Tensor:
    """[N, V] log-probs of what comes in the place of each wanted token, with the whole vocabulary at once."""
    logits = model(input_ids=IDS, attention_mask=ATTENTION.long()).logits / temperature
    return logits.log_softmax(-1)[:, :-1][WANTED[:, 1:]]


def asked(candidates: Candidates, chunk_tokens: int = 100, draws=None, vocabulary: int = VOCABULARY):
    return teacher_candidates(
        TEACHER,
        IDS,
        ATTENTION,
        WANTED,
        candidates=candidates,
        vocabulary=vocabulary,
        draws=draws,
        chunk_tokens=chunk_tokens,
    )


def read(ids: torch.Tensor, columns: torch.Tensor, temperature: float, chunk_tokens: int) -> PolicyOutput:
    compared = Compared(ids, temperature, columns.shape[-1] > ids.shape[-1])
    return policy_output(STUDENT, IDS, ATTENTION, WANTED, temperature=0.7, chunk_tokens=chunk_tokens, compared=compared)


def batch_of(ids: torch.Tensor, columns: torch.Tensor) -> Batch:
    nothing = torch.zeros(len(IDS))
    absent = dict.fromkeys(("behavior_logprobs", "reference_logprobs", "proximal_logprobs", "teacher_logprobs"))
    return Batch(
        token_ids=IDS,
        attention_mask=ATTENTION,
        loss_mask=WANTED,
        lesson_mask=~WANTED & WANTED,
        advantages=nothing,
        labels=nothing,
        units=nothing,
        sources=nothing,
        candidate_ids=ids,
        teacher_candidate_logprobs=columns,
        **absent,
    )


@pytest.mark.parametrize("chunk_tokens", [1, 4, 100])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_top_k_and_the_rest_are_those_of_the_whole_distribution(chunk_tokens, temperature):
    ids, columns = asked(Candidates(count=5, temperature=temperature), chunk_tokens)
    expected = distributions(TEACHER, temperature)
    top, places = expected.topk(5, dim=-1)
    assert ids[WANTED].equal(places)
    rest = (1 - top.exp().sum(-1, keepdim=True)).log()
    torch.testing.assert_close(columns[WANTED], torch.cat([top, rest], -1), atol=1e-9, rtol=0)
    assert not ids[~WANTED].any() and not columns[~WANTED].any()


@pytest.mark.parametrize("chunk_tokens", [1, 4, 100])
@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_the_student_is_read_at_the_candidates_with_its_gradient_whatever_the_chunks(chunk_tokens, temperature):
    ids, columns = asked(Candidates(count=5))
    found = read(ids, columns, temperature, chunk_tokens).candidate_logprobs
    whole = distributions(STUDENT, temperature)
    picked = whole.gather(-1, ids[WANTED])
    expected = torch.cat([picked, (1 - picked.exp().sum(-1, keepdim=True)).log()], -1)
    torch.testing.assert_close(found[WANTED], expected, atol=1e-9, rtol=0)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ours = torch.autograd.grad((found[WANTED] * weights).sum(), list(STUDENT.parameters()))
    theirs = torch.autograd.grad((expected * weights).sum(), list(STUDENT.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=0)


@pytest.mark.parametrize("count", [VOCABULARY, 64])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_as_many_candidates_as_the_vocabulary_has_tokens_give_the_exact_divergence_and_gradient(count, beta, temperature):
    ids, columns = asked(Candidates(count=count, temperature=temperature))
    assert ids.shape[-1] == columns.shape[-1] == VOCABULARY
    found = divergence(read(ids, columns, temperature, 4), batch_of(ids, columns), beta=beta, support="top_k")
    expected = generalized_jsd(distributions(TEACHER, temperature).detach(), distributions(STUDENT, temperature), beta)
    torch.testing.assert_close(found[WANTED], expected, atol=1e-9, rtol=0)
    ours = torch.autograd.grad(found.sum(), list(STUDENT.parameters()))
    theirs = torch.autograd.grad(expected.sum(), list(STUDENT.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_fewer_candidates_give_a_lower_bound_that_grows_with_them(beta):
    values = []
    for count in (1, 4, 16, VOCABULARY - 1, VOCABULARY):
        ids, columns = asked(Candidates(count=count))
        values.append(divergence(read(ids, columns, 1.0, 4), batch_of(ids, columns), beta=beta, support="top_k").sum().item())
    assert values[0] > 0 and all(one <= other + 1e-12 for one, other in zip(values, values[1:], strict=False))
    assert values[-2] == pytest.approx(values[-1], abs=1e-12)  # a rest of one token is that token


def test_draws_estimate_the_forward_kl_and_its_gradient_without_bias():
    count = 20_000
    draws = torch.rand(*IDS.shape, count, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    ids, columns = asked(Candidates(count=count, drawn=True), draws=draws)
    assert columns.shape == ids.shape
    expected = generalized_jsd(distributions(TEACHER, 1.0).detach(), distributions(STUDENT, 1.0), 0.0)
    found = divergence(read(ids, columns, 1.0, 4), batch_of(ids, columns), beta=0.0, support="drawn")[WANTED]
    torch.testing.assert_close(found, expected, atol=0.06, rtol=0)
    ours = torch.autograd.grad(found.mean(), list(STUDENT.parameters()))
    theirs = torch.autograd.grad(expected.mean(), list(STUDENT.parameters()))
    one, other = (torch.cat([part.flatten() for part in parts]) for parts in (ours, theirs))
    assert (one - other).norm() < 0.03 * other.norm()


def test_a_token_without_probability_is_never_drawn():
    draws = torch.zeros(*IDS.shape, 3, dtype=torch.float64)
    draws[..., 1], draws[..., 2] = 0.5, 1 - 1e-12
    ids, columns = asked(Candidates(count=3, drawn=True), draws=draws)
    assert columns[WANTED].isfinite().all()
    assert (ids[WANTED][:, 0] == 0).all() and (ids[WANTED].diff(dim=-1) >= 0).all()


def test_rows_that_only_the_teacher_has_are_no_candidates():
    ids, columns = asked(Candidates(count=64), vocabulary=40)
    assert ids.shape[-1] == columns.shape[-1] == 40 and ids.max() < 40
    torch.testing.assert_close(columns[WANTED].exp().sum(-1), torch.ones(int(WANTED.sum()), dtype=torch.float64))


def test_a_student_with_more_rows_than_its_teacher_keeps_a_rest():
    ids, columns = asked(Candidates(count=64), vocabulary=VOCABULARY + 8)
    assert ids.shape[-1] == VOCABULARY - 1 and columns.shape[-1] == VOCABULARY


def test_a_rest_far_below_the_rounding_of_one_is_not_lost():
    sharp = model_of(1, 32).float()
    with torch.no_grad():
        sharp.get_output_embeddings().weight.mul_(30)
    _, columns = teacher_candidates(
        sharp, IDS, ATTENTION, WANTED, candidates=Candidates(count=40), vocabulary=VOCABULARY, chunk_tokens=4
    )
    assert columns[WANTED][:, -1].isfinite().all() and columns[WANTED][:, -1].min() < -20


def test_what_is_kept_for_the_backward_pass_never_has_tokens_times_vocabulary():
    ids, columns = asked(Candidates(count=5))
    kept: list[int] = []

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel() if tensor.shape[-1:] == (VOCABULARY,) else 0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        out = read(ids, columns, 1.0, 2)
    assert out.candidate_logprobs.requires_grad
    assert max(kept) <= STUDENT.config.hidden_size * VOCABULARY


def test_no_wanted_token_is_a_batch_of_zeros_that_still_has_a_gradient():
    ids, columns = asked(Candidates(count=5))
    out = policy_output(STUDENT, IDS, ATTENTION, torch.zeros_like(WANTED), compared=Compared(ids, 1.0, True))
    assert out.candidate_logprobs.shape == columns.shape and not out.candidate_logprobs.any()
    out.candidate_logprobs.sum().backward()
