"""Samples that cannot move the policy, as those of a flat group: the step is the same without their backward passes."""

from dataclasses import replace

import pytest
import torch
from mixed_step import CONFIG, SHAPE, TOKENIZER, gradient, sample

from rl_distill.algorithms import ALGORITHMS, Grpo
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.step_plan import plan_step

FLAT = [sample(20 + seed, advantage=0.0) for seed in range(5)]
MIXED = [sample(seed, advantage=(-1.0) ** seed) for seed in range(4)]
STEP = [piece for pair in zip(FLAT, MIXED, strict=False) for piece in pair] + FLAT[len(MIXED) :]
KINDS = {name: kind for name, kind in ALGORITHMS.items() if issubclass(kind, Grpo)}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("max_tokens", [12, 30, 10_000])
def test_the_step_is_the_one_that_runs_them_backward(monkeypatch, name, max_tokens):
    algorithm = replace(KINDS[name](), **({"kl_coef": 0.0} if name == "grpo" else {}))
    found, metrics = gradient(STEP, algorithm, micro_batch_tokens=max_tokens)
    monkeypatch.setattr(Grpo, "moves", lambda self, sample: True)
    whole, expected = gradient(STEP, algorithm, micro_batch_tokens=max_tokens)
    assert whole.norm() > 0
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=1e-5)
    for path in expected.keys() - {"learner/micro_batches", "learner/padding_fraction"}:
        assert metrics[path] == pytest.approx(expected[path], abs=1e-5, nan_ok=True), path


def backward_passes(algorithm, samples, ranks=1, max_tokens=10_000):
    terms = [LossTerm(algorithm=algorithm)]
    plan = plan_step(samples, terms, num_processes=ranks, max_tokens=max_tokens)
    return [(share.passes, share.still_passes, len(share.samples)) for (share,) in plan]


def test_only_what_moves_goes_backward():
    grpo = Grpo(kl_coef=0.0)
    assert backward_passes(grpo, STEP) == [(1, 1, 9)]
    assert backward_passes(grpo, MIXED) == [(1, 0, 4)]
    assert backward_passes(grpo, FLAT) == [(1, 1, 5)], "one pass remains, in which ranks meet"
    assert backward_passes(Grpo(kl_coef=0.04), STEP) == [(1, 0, 9)], "the KL pulls at all of them"
    assert backward_passes(Grpo(kl_coef=0.04, kl_place="reward"), STEP) == [(1, 1, 9)]
    assert [counts[:2] for counts in backward_passes(grpo, STEP, ranks=2, max_tokens=1)] == [(2, 3)] * 2


def test_lessons_move():
    algorithm = ALGORITHMS["exgrpo"](kl_coef=0.0, lesson_coef=1.0, coherence="none")
    assert algorithm.moves(sample(1, advantage=0.0, lesson=True)) and not algorithm.moves(sample(1, advantage=0.0))


def test_a_step_of_flat_groups_alone_still_is_a_step_of_the_optimizer():
    """Weight decay and momentum go on, as they would with a gradient of zeros."""
    learner = LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, Grpo(kl_coef=0.0), replace(CONFIG, weight_decay=0.1))
    learner.step(MIXED)
    before = learner.trained[0].detach().clone()
    metrics = learner.step(FLAT).metrics
    assert metrics["gradient/norm"] == 0 and metrics["update/norm"] > 0
    assert not torch.equal(learner.trained[0], before)
