"""Samples that cannot move the policy, as those of a flat group: the step is the same without their backward passes."""

from dataclasses import replace

import pytest
import torch
from mixed_step import CONFIG, SHAPE, TOKENIZER, gradient, sample

from rl_distill.algorithms import ALGORITHMS, Grpo
from rl_distill.algorithms.advantages import group_center, leave_one_out, standardized
from rl_distill.algorithms.base import LossOutput
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
    algorithm = KINDS[name]()
    if algorithm.kl_place == "loss":  # where it would pull at all of them
        algorithm = replace(algorithm, kl_coef=0.0)
    assert backward_passes(algorithm, STEP)[0][1] > 0, "some run forward only"
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


def test_an_algorithm_from_elsewhere_is_run_backward_throughout():
    """Its loss may read the policy where the credit is 0."""

    class Imitating(Grpo):
        def loss(self, policy, batch, totals):
            out = super().loss(policy, batch, totals)
            return LossOutput(out.loss - (policy.logprobs * batch.loss_mask).sum(), out.metrics)

    whole, _ = gradient(FLAT, Imitating(kl_coef=0.0))
    assert whole.norm() > 0


def test_a_loss_that_is_not_finite_reaches_a_backward_pass():
    """By which alone the ranks of DeepSpeed learn of it, so that all skip the step."""
    overflown = replace(FLAT[0].trajectory, proximal_logprobs=(-1e5,) * len(FLAT[0].trajectory.token_ids))
    learner = LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, Grpo(kl_coef=0.0), CONFIG)
    proximal = [
        replace(one, trajectory=replace(one.trajectory, proximal_logprobs=one.trajectory.behavior_logprobs)) for one in MIXED
    ]
    samples = [*proximal, replace(FLAT[0], trajectory=overflown)]
    (shares,) = plan_step(samples, learner.terms, num_processes=1, max_tokens=10_000)
    learner.accumulate(shares)
    assert all(parameter.grad.isnan().any() for parameter in learner.trained)


@pytest.mark.parametrize("rewards", [(0.1,) * 3, (0.05,) * 3, (0.7,) * 8])
def test_equal_rewards_give_no_credit_at_all(rewards):
    """Not even what rounding leaves of a mean."""
    assert {*standardized(rewards, "sample", 1e-6), *group_center(rewards), *leave_one_out(rewards)} == {0.0}
