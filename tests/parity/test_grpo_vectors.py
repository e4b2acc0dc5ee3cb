"""Every GRPO-family vector, in float64 to 1e-9: advantages, losses, and gradients with respect to the new log-probs."""

import json
from pathlib import Path

import pytest
import torch

from rl_distill.algorithms.advantages import group_center, leave_one_out, standardized, whitened_by_token
from rl_distill.algorithms.grpo import Cispo, Dapo, DrGrpo, Grpo, Gspo, Rloo
from rl_distill.algorithms.reductions import token_mean
from rl_distill.algorithms.surrogates import LOG_RATIOS, clipped, kl_estimate
from rl_distill.batch import PolicyOutput, collate, source_names, totals
from rl_distill.trajectory import Group, Problem, Sample, Score, Trajectory

VECTORS = json.loads((Path(__file__).parent / "grpo_vectors.json").read_text())
INPUTS, MAIN, BINARY = VECTORS["inputs"], VECTORS["main_case"], VECTORS["binary_1of4_case_population_std"]
LENGTHS = VECTORS["meta"]["lengths"]
REWARDS = INPUTS["rewards"]["acc_plus_0p1_format"]
PROMPT = 2  # tokens before the response, so that a mask that is off by one shows


def trajectory(row: int, reward: float, old: str) -> Trajectory:
    pad = (0.0,) * PROMPT
    return Trajectory(
        problem_id="p",
        messages=(),
        token_ids=tuple(range(PROMPT + LENGTHS[row])),
        sampled=(False,) * PROMPT + (True,) * LENGTHS[row],
        behavior_logprobs=pad + tuple(INPUTS[old][row]),
        proximal_logprobs=pad + tuple(INPUTS["logp_old_trainer"][row]),
        reference_logprobs=pad + tuple(INPUTS["logp_ref_or_teacher"][row]),
        model="m",
        origin="policy",
        score=Score(value=reward, verdict=None),
    )


def padded(rows: list[list[float]], width: int) -> torch.Tensor:
    out = torch.full((len(rows), width), -7.5, dtype=torch.float64)
    for i, row in enumerate(rows):
        out[i, PROMPT : PROMPT + len(row)] = torch.tensor(row, dtype=torch.float64)
    return out


def evaluate(algorithm: Grpo, *, rewards: list[float] = REWARDS, old: str = "logp_old_trainer", new: str = "logp_new"):
    """Loss and d loss / d logp_new, through `samples`, `collate` and `loss` as the learner goes."""
    problem = Problem(id="p", prompt="", answer=None, source="vectors")
    group = Group(problem=problem, trajectories=tuple(trajectory(i, reward, old) for i, reward in enumerate(rewards)))
    samples = algorithm.finish(algorithm.samples(group))
    sources = source_names(samples)
    batch = collate(samples, pad_id=0, sources=sources, dtype=torch.float64)
    logprobs = padded(INPUTS[new], batch.token_ids.shape[1]).requires_grad_()
    out = algorithm.loss(PolicyOutput(logprobs), batch, totals(samples, sources, torch.float64))
    (gradient,) = torch.autograd.grad(out.loss, logprobs)
    assert not gradient[~batch.loss_mask].any()
    return out, [gradient[i, PROMPT : PROMPT + length].tolist() for i, length in enumerate(LENGTHS)]


NO_KL = {"kl_coef": 0.0}
TOKENS = {"aggregation": "token_mean", **NO_KL}
FROM_ENGINE = {"old": "logp_rollout_engine"}
MAIN_CASES = {
    "grpo_seqmean_tokmean_eps0.2": (Grpo(**NO_KL), {}),
    "grpo_plus_k3_beta0.04": (Grpo(), {}),
    "dr_grpo_sum_over_G_times_Lmax8": (DrGrpo(constant_tokens=8), {}),
    "dr_grpo_tokensum_over_G": (DrGrpo(constant_tokens=None), {}),
    "dapo_token_mean_clip_0.2_0.28": (Dapo(), {}),
    "token_mean_clip_0.2_0.2": (Grpo(**TOKENS), {}),
    "dapo_dual_clip_c3": (Dapo(dual_clip=3.0), {}),
    "rloo_sequence_ratio_clip0.2": (Rloo(**NO_KL), {}),
    "rloo_plain_reinforce_tokensum": (
        Grpo(advantage="leave_one_out", surrogate="reinforce", aggregation="sequence_sum", **NO_KL),
        {},
    ),
    "rloo_token_ratio_token_mean": (Rloo(ratio="token", **TOKENS), {}),
    "gspo_clip_3e-4_4e-4": (Gspo(), {}),
    "gspo_clip_0.2_0.2": (Gspo(clip_low=0.2, clip_high=0.2), {}),
    "gmpo_logclip_0.25": (Grpo(surrogate="gmpo", log_clip=0.25, **NO_KL), {}),
    "sapo_tau_1.0_1.05": (Grpo(surrogate="sapo", **NO_KL), {}),
    "dapo_x_token_tis_cap2": (Dapo(correction="token_tis"), FROM_ENGINE),
    "dapo_x_token_mask_0.5_2": (Dapo(correction="token_mask"), FROM_ENGINE),
    "dapo_x_sequence_tis_cap2": (Dapo(correction="sequence_tis"), FROM_ENGINE),
    "decoupled_ppo_eps0.2": (Grpo(correction="decoupled", **TOKENS), FROM_ENGINE),
    "naive_behaviour_ratio_eps0.2": (Grpo(old_policy="behavior", **TOKENS), FROM_ENGINE),
    "cispo_cap5_upper_only_token_mean": (Cispo(), {}),
    "cispo_clip_0.8_1.28_token_mean": (Cispo(clip_low=0.2, clip_high=0.28), {}),
    "on_policy_identity_grpo_at_new_equals_old": (Grpo(**NO_KL), {"new": "logp_old_trainer"}),
    "on_policy_identity_dapo_at_new_equals_old": (Dapo(), {"new": "logp_old_trainer"}),
}


def test_every_loss_vector_has_a_case():
    assert set(MAIN_CASES) == set(MAIN["loss"])
    assert set(MAIN["grad_wrt_logp_new"]) <= set(MAIN_CASES)


@pytest.mark.parametrize("name", MAIN_CASES)
def test_main_case_loss_and_gradient(name):
    algorithm, inputs = MAIN_CASES[name]
    out, gradient = evaluate(algorithm, **inputs)
    assert out.loss.item() == pytest.approx(MAIN["loss"][name], abs=1e-9)
    if name in MAIN["grad_wrt_logp_new"]:
        for ours, expected in zip(gradient, MAIN["grad_wrt_logp_new"][name], strict=True):
            assert ours == pytest.approx(expected, abs=1e-9)


POPULATION = {"std": "population", "std_eps": 0.0}
BINARY_CASES = {
    "grpo": Grpo(**POPULATION, **NO_KL),
    "dapo": Dapo(**POPULATION),
    "dr_grpo_Lmax8": DrGrpo(constant_tokens=8),
    "gspo": Gspo(**POPULATION),
    "rloo_sequence_ratio_clip0.2": Rloo(**NO_KL),
    "rloo_plain_reinforce_tokensum": Grpo(advantage="leave_one_out", surrogate="reinforce", aggregation="sequence_sum", **NO_KL),
}


@pytest.mark.parametrize("name", BINARY_CASES)
def test_binary_case_loss(name):
    out, _ = evaluate(BINARY_CASES[name], rewards=INPUTS["rewards"]["binary_1of4"])
    assert out.loss.item() == pytest.approx(BINARY[name], abs=1e-9)


@pytest.mark.parametrize("name", VECTORS["advantages"])
def test_advantages(name):
    rewards, expected = INPUTS["rewards"][name], VECTORS["advantages"][name]
    ours = {
        "grpo_population_std_eps0": standardized(rewards, "population", 0.0),
        "grpo_sample_std_eps1e-6": standardized(rewards, "sample", 1e-6),
        "grpo_sample_std_eps1e-4": standardized(rewards, "sample", 1e-4),
        "dr_grpo_center_only": group_center(rewards),
        "rloo_leave_one_out": leave_one_out(rewards),
        "reinforcepp_token_whitened_per_rollout": whitened_by_token(rewards, LENGTHS),
        "reinforcepp_baseline_per_rollout": whitened_by_token(group_center(rewards), LENGTHS),
    }
    assert set(ours) == set(expected) - {"mean", "std_population", "std_sample"}
    for kind, values in ours.items():
        assert values == pytest.approx(expected[kind], abs=1e-9), kind


CLIPS = {
    "ppo_0.2": {"low": 0.2, "high": 0.2},
    "clip_higher_0.2_0.28": {"low": 0.2, "high": 0.28},
    "clip_higher_dual_c3": {"low": 0.2, "high": 0.28, "dual": 3.0},
    "two_sided_delta4": {"low": 0.2, "high": 0.2, "ratio_cap": 4.0},
}


@pytest.mark.parametrize("case", VECTORS["scalar_clip_cases"], ids=lambda case: f"r{case['ratio']}A{case['advantage']}")
def test_scalar_clip(case):
    ratio, advantage = (torch.tensor([case[key]], dtype=torch.float64) for key in ("ratio", "advantage"))
    for name, clip in CLIPS.items():
        assert clipped(ratio.log(), advantage, **clip).item() == pytest.approx(case[name], abs=1e-9), name


def test_kl_estimates():
    rewards = [0.0] * 4
    samples = [Sample(trajectory=trajectory(i, reward, "logp_old_trainer")) for i, reward in enumerate(rewards)]
    batch = collate(samples, pad_id=0, sources=("",), dtype=torch.float64)
    counts = totals(samples, ("",), torch.float64)
    new = padded(INPUTS["logp_new"], batch.token_ids.shape[1])
    for name in ("k1", "k2", "k3"):
        kl = kl_estimate(name, new, batch.reference_logprobs, torch.zeros_like(new))
        expected = VECTORS["kl_new_vs_ref"][f"{name}_token_mean"]
        assert token_mean(kl, batch.loss_mask, batch, counts).item() == pytest.approx(expected, abs=1e-9)


def test_kl_in_the_reward_is_the_k1_sum_under_the_sampler():
    algorithm = Rloo()
    expected = [
        reward - 0.05 * (sum(INPUTS["logp_old_trainer"][i]) - sum(INPUTS["logp_ref_or_teacher"][i]))
        for i, reward in enumerate(REWARDS)
    ]
    problem = Problem(id="p", prompt="", answer=None, source="vectors")
    group = Group(
        problem=problem, trajectories=tuple(trajectory(i, reward, "logp_old_trainer") for i, reward in enumerate(REWARDS))
    )
    assert [sample.advantage for sample in algorithm.samples(group)] == pytest.approx(leave_one_out(expected), abs=1e-12)


def test_ratios():
    """Token, whole-sequence and length-normalised ratios, new over old and old over sampler."""
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    rows = {
        name: torch.nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.float64) for row in INPUTS[name]], batch_first=True)
        for name in ("logp_new", "logp_old_trainer", "logp_rollout_engine")
    }
    names = {
        "new_over_old": (
            rows["logp_new"] - rows["logp_old_trainer"],
            "token_new_over_old",
            "sequence_new_over_old",
            "gspo_length_normalised",
        ),
        "old_over_rollout": (
            rows["logp_old_trainer"] - rows["logp_rollout_engine"],
            "token_old_over_rollout",
            "sequence_old_over_rollout",
            "geomean_old_over_rollout",
        ),
    }
    for log_ratio, token, whole, mean in names.values():
        found = {kind: LOG_RATIOS[kind](log_ratio, mask).exp() for kind in LOG_RATIOS}
        for row, length, expected in zip(found["token"], LENGTHS, VECTORS["ratios"][token], strict=True):
            assert row[:length].tolist() == pytest.approx(expected, abs=1e-9)
        assert found["sequence_sum"][:, 0].tolist() == pytest.approx(VECTORS["ratios"][whole], abs=1e-9)
        assert found["sequence_mean"][:, 0].tolist() == pytest.approx(VECTORS["ratios"][mean], abs=1e-9)
