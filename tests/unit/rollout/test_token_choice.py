import numpy as np
import pytest
import torch

from rl_distill.rollout.token_choice import TokenChoice, in_nucleus, stream_keys, uniforms

CPU = torch.device("cpu")


def choice(temperature: float | list[float], top_p: float | list[float] = 1.0, rows: int = 1) -> TokenChoice:
    return TokenChoice(np.broadcast_to(temperature, rows).astype(float), np.broadcast_to(top_p, rows).astype(float), CPU)


def splitmix64(seed: int, position: int) -> float:
    """The generator written out in Python integers, started from its own first output and moved to a position."""

    def mixed(state: int) -> int:
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        return state ^ state >> 31

    golden = 0x9E3779B97F4A7C15
    bits = mixed((mixed((seed + golden) % 2**64) + (position + 1) * golden) % 2**64)
    return ((bits >> 13) + 0.5) / 2**51


def test_uniforms_are_splitmix64_at_the_position() -> None:
    seeds, positions = [0, 1, 2**63 - 1, 12345], [0, 7, 511, 2**31]
    drawn = uniforms(stream_keys(seeds), np.array(positions))
    assert drawn.tolist() == [splitmix64(seed, position) for seed, position in zip(seeds, positions, strict=True)]


def test_uniforms_of_neighboring_seeds_and_positions_fill_the_interval_independently() -> None:
    keys = np.repeat(stream_keys(range(200)), 200)
    drawn = uniforms(keys, np.tile(np.arange(200), 200)).reshape(200, 200)
    counts, _ = np.histogram(drawn, bins=100, range=(0, 1))
    assert ((counts - 400) ** 2 / 400).sum() < 180  # chi-square with 99 degrees of freedom, one in a million
    centered = (drawn - 0.5) * 12**0.5
    for neighbors in (centered[1:] * centered[:-1], centered[:, 1:] * centered[:, :-1]):
        assert abs(neighbors.mean()) < 5 / neighbors.size**0.5
    assert drawn.min() > 0 and drawn.max() < 1


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.7, 0.8)])
def test_tokens_come_as_often_as_their_log_probs_say(temperature: float, top_p: float) -> None:
    rows = 60_000
    logits = torch.tensor([2.0, -1.0, 0.5, 0.0, 1.5, -3.0, 1.0, 0.2])
    draws = torch.from_numpy(uniforms(stream_keys(range(rows)), np.zeros(rows, dtype=np.int64)))
    tokens, logprobs = choice(temperature, top_p, rows).draw(logits.repeat(rows, 1), draws)
    counts = torch.bincount(tokens, minlength=8)
    expected = torch.zeros(8, dtype=torch.float64)
    expected[tokens] = logprobs.double().exp() * rows
    assert expected.sum() == pytest.approx(rows, rel=1e-5)
    assert counts[expected == 0].sum() == 0
    seen = expected > 0
    assert ((counts - expected)[seen] ** 2 / expected[seen]).sum() < 45  # 7 degrees of freedom: one in ten million


def test_log_probs_are_of_the_tempered_renormalized_nucleus() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.05, 0.25, 0.2]]))
    draws = torch.linspace(0.001, 0.999, 200, dtype=torch.float64)
    tokens, logprobs = choice(1.0, 0.6, 200).draw(logits.repeat(200, 1), draws)
    assert set(tokens.tolist()) == {1, 3}  # 0.4 + 0.25 is the smallest mass of at least 0.6
    for token, probability in ((1, 0.4 / 0.65), (3, 0.25 / 0.65)):
        assert logprobs[tokens == token].exp().tolist() == pytest.approx([probability] * int((tokens == token).sum()), rel=1e-6)


def test_the_nucleus_keeps_all_that_tie_with_its_last_member_and_at_least_one_token() -> None:
    logprobs = torch.log(torch.tensor([[0.4, 0.2, 0.2, 0.2], [0.97, 0.01, 0.01, 0.01]]))
    kept = in_nucleus(logprobs, torch.tensor([[0.5], [0.001]], dtype=torch.float64))
    assert kept.tolist() == [[True, True, True, True], [True, False, False, False]]


def test_the_nucleus_of_a_flat_distribution_over_a_large_vocabulary_reaches_its_mass() -> None:
    logprobs = torch.log_softmax(torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)) * 0.1, -1)
    for top_p in (0.5, 0.9):
        kept = in_nucleus(logprobs, torch.full((2, 1), top_p, dtype=torch.float64))
        mass = (logprobs.double().exp() * kept).sum(-1)
        least = torch.where(kept, logprobs, torch.inf).amin(-1).double().exp()
        assert bool((mass >= top_p).all()) and bool((mass - least < top_p).all())
        assert bool(logprobs.exp()[~kept].max() <= least.max())


def test_temperature_0_takes_the_most_likely_token_with_certainty() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    tokens, logprobs = choice(0.0, rows=2).draw(logits, torch.tensor([0.001, 0.999], dtype=torch.float64))
    assert tokens.tolist() == [1, 0] and logprobs.tolist() == [0.0, 0.0]


def test_rows_with_different_settings_draw_in_a_batch_as_they_do_alone() -> None:
    logits = torch.randn(4, 48, generator=torch.Generator().manual_seed(3)) * 2
    temperature, top_p = [0.0, 1.0, 0.7, 1.3], [1.0, 1.0, 0.5, 0.9]
    draws = torch.tensor([0.3, 0.62, 0.5, 0.98], dtype=torch.float64)
    tokens, logprobs = choice(temperature, top_p, 4).draw(logits, draws)
    for row in range(4):
        token, logprob = choice(temperature[row], top_p[row]).draw(logits[row : row + 1], draws[row : row + 1])
        assert tokens[row] == token[0]
        assert logprobs[row].item() == pytest.approx(logprob[0].item(), abs=1e-6)


def test_log_probs_of_bfloat16_logits_are_computed_in_float32() -> None:
    logits = (torch.randn(1, 48, generator=torch.Generator().manual_seed(4)) * 2).bfloat16()
    tokens, logprobs = choice(1.0).draw(logits, torch.tensor([0.4], dtype=torch.float64))
    assert logprobs.dtype == torch.float32
    assert logprobs[0].item() == pytest.approx(torch.log_softmax(logits.double(), -1)[0, tokens[0]].item(), abs=1e-6)


def test_a_token_of_probability_zero_is_never_drawn_at_the_ends_of_the_interval() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).repeat(2, 1)
    tokens, _ = choice(1.0, rows=2).draw(logits, torch.tensor([2.0**-52, 1 - 2.0**-52], dtype=torch.float64))
    assert tokens.tolist() == [1, 3]
