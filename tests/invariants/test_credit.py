"""Credit is what the loss does to each token, measured and not declared."""

from dataclasses import replace

import pytest
from mixed_step import CONFIG, PAIRS, ROLLOUTS, SHAPE, TOKENIZER, gradient

from rl_distill.algorithms.grpo import Grpo
from rl_distill.algorithms.redi import Redi
from rl_distill.algorithms.sft import Sft
from rl_distill.learning.local_learner import LocalLearner

UNITS = [replace(one, source="") for one in PAIRS]


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_redi_pulls_up_with_one_and_pushes_down_with_alpha(alpha):
    metrics = gradient(UNITS, Redi(negative_coef=alpha))[1]
    assert metrics["credit/positive"] == pytest.approx(1, abs=1e-5)
    assert metrics["credit/negative"] == pytest.approx(alpha, abs=1e-5)
    assert metrics["credit/weighted_fraction"] == 1
    assert (metrics["credit/negatives"], metrics["credit/weightless_negatives"]) == (2, 0)


def test_the_control_weighs_its_chosen_tokens_only_and_says_that_it_avoids_nothing():
    metrics = gradient(UNITS, Redi(negative_coef=0))[1]
    chosen = sum(one.trajectory.num_sampled for one in UNITS if one.label > 0)
    assert metrics["credit/weighted_fraction"] == pytest.approx(chosen / sum(one.trajectory.num_sampled for one in UNITS))
    assert metrics["credit/negative"] == 0 and "credit/negatives" not in metrics


@pytest.mark.parametrize("kl_coef", [0.0, 0.04])
def test_wrong_attempts_without_advantage_are_counted_as_weightless_whatever_the_kl_does_to_them(kl_coef):
    """Rewards of 0 and 1 without a baseline: nothing is avoided."""
    samples = [replace(one, advantage=max(0.0, one.advantage)) for one in ROLLOUTS]
    metrics = gradient(samples, Grpo(kl_coef=kl_coef))[1]
    assert (metrics["credit/negatives"], metrics["credit/weightless_negatives"]) == (3, 3)
    assert metrics["credit/negative"] == 0 < metrics["credit/positive"]
    assert metrics["credit/weighted_fraction"] < 1


def test_wrong_attempts_with_a_baseline_all_carry_weight():
    metrics = gradient(ROLLOUTS, Grpo())[1]
    assert (metrics["credit/negatives"], metrics["credit/weightless_negatives"]) == (3, 0)
    assert metrics["credit/negative"] > 0.1


def test_sft_avoids_nothing():
    metrics = gradient(ROLLOUTS, Sft())[1]
    assert metrics["credit/positive"] == pytest.approx(1, abs=1e-5) and "credit/negatives" not in metrics


def ess_fraction(columns) -> float:
    """Of the rollouts when the sampler had these log-probs."""
    samples = [
        replace(one, trajectory=replace(one.trajectory, behavior_logprobs=tuple(column)))
        for one, column in zip(ROLLOUTS, columns, strict=True)
    ]
    return gradient(samples, Grpo())[1]["policy/ess_fraction"]


def test_effective_sample_size_is_one_on_policy_and_falls_with_the_spread_of_the_weights():
    learner = LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, Grpo(), CONFIG)
    own = learner.logprobs([one.trajectory for one in ROLLOUTS])
    assert ess_fraction(own) == pytest.approx(1, abs=1e-5)
    assert ess_fraction([[value - 1 for value in column] for column in own]) == pytest.approx(1, abs=1e-5)  # no spread either
    near, far = ([[value - size * (place % 3) for place, value in enumerate(column)] for column in own] for size in (0.2, 2.0))
    assert ess_fraction(far) < 0.7 < ess_fraction(near) < 0.99


def test_a_known_effective_sample_size():
    """Weights 1 and 3, equally often: (mean w)^2 / mean w^2 = 4 / 5."""
    metrics = {"ess_weight": 2.0, "ess_square": 5.0, "loss": 1.0}
    assert Grpo().summarize(metrics) == {"policy/ess_fraction": 0.8, "loss": 1.0}
