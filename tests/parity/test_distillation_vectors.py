"""Distillation distances, on-policy credit and the staleness gate against independent vectors, in float64 to 1e-9."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from rl_distill.algorithms import divergences
from rl_distill.rollout.staleness import admits

ALL = json.loads((Path(__file__).parent / "grpo_vectors.json").read_text())
VECTORS, INPUTS = ALL["distillation"], ALL["inputs"]
TEACHER, STUDENT = (torch.tensor(VECTORS[f"{who}_logits"], dtype=torch.float64) for who in ("teacher", "student"))


def close(ours: torch.Tensor, expected: object) -> None:
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", VECTORS["generalised_jsd_beta_teacher_weight"])
def test_generalized_jsd(name):
    temperature, beta = (float(part[1:] if part[0] == "T" else part[4:]) for part in name.split("_"))
    expected = VECTORS["generalised_jsd_beta_teacher_weight"][name]
    found = divergences.generalized_jsd(*((logits / temperature).log_softmax(-1) for logits in (TEACHER, STUDENT)), beta)
    close(found, expected["per_position"])
    close(found.mean(), expected["mean"])


TOP_K = {
    "truncate": divergences.top_k_truncated,
    "renorm": divergences.top_k_renormalized,
    "tail": divergences.top_k_with_tail,
    "teacher_renorm_student_full": divergences.top_k_teacher_renormalized,
}


@pytest.mark.parametrize("name", VECTORS["forward_kl_topk_per_position"])
def test_top_k(name):
    count, treatment = name.removeprefix("top").split("_", 1)
    teacher, ids = TEACHER.log_softmax(-1).topk(int(count), dim=-1)
    student = STUDENT.log_softmax(-1).gather(-1, ids)
    close(TOP_K[treatment](teacher, student), VECTORS["forward_kl_topk_per_position"][name])


def test_classic_distillation():
    expected = VECTORS["classic_kd"]
    for temperature in (1, 2):
        close(divergences.hinton(TEACHER, STUDENT, temperature).mean(), expected[f"hinton_T2_scaled_T{temperature}"])
    hard = F.cross_entropy(STUDENT, torch.tensor([0, 1]))
    close(hard, expected["cross_entropy_targets_0_1"])
    close(0.5 * divergences.hinton(TEACHER, STUDENT, 2).mean() + 0.5 * hard, expected["mix_alpha0.5_T2"])


def test_on_policy_credit():
    expected = VECTORS["on_policy_distillation"]
    rows = {name: [torch.tensor(row, dtype=torch.float64) for row in INPUTS[name]] for name in INPUTS if name.startswith("logp_")}
    padded = {name: torch.nn.utils.rnn.pad_sequence(columns, batch_first=True) for name, columns in rows.items()}
    lengths = torch.tensor([len(row) for row in INPUTS["logp_new"]])
    mask = torch.arange(padded["logp_new"].shape[1]) < lengths[:, None]
    teacher, sampler = padded["logp_ref_or_teacher"], padded["logp_rollout_engine"]
    credit = divergences.teacher_credit(teacher, sampler, mask)
    for row, length, values in zip(credit, lengths, expected["advantage_per_token_coef1"], strict=True):
        close(row[:length], values)
    close(-credit[mask].mean(), expected["mean_reverse_kl_token"])
    discounted = divergences.teacher_credit(teacher, sampler, mask, discount=0.9)
    for row, length, values in zip(discounted, lengths, expected["advantage_per_token_discount0.9"], strict=True):
        close(row[:length], values)
    losses = (-(padded["logp_new"] - sampler).exp() * credit)[mask]
    close(losses.mean(), expected["is_loss_token_mean"])
    close(losses.sum(), expected["is_loss_token_sum"])


@pytest.mark.parametrize("case", ALL["staleness_gate"])
def test_staleness_gate(case):
    assert admits(case["N_r"], batch_size=case["B"], version=case["i"], max_lag=case["eta"]) == case["admit"]
