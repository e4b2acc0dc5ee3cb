"""The distillation algorithms, whole, against the vectors: losses, and gradients against their formulas."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from rl_distill.algorithms import Gkd, Kd, Opd
from rl_distill.algorithms.base import Algorithm
from rl_distill.batch import Batch, PolicyOutput, Totals, collate, totals
from rl_distill.models.logprobs import at_candidates
from rl_distill.trajectory import Sample, Trajectory

ALL = json.loads((Path(__file__).parent / "grpo_vectors.json").read_text())
VECTORS, INPUTS = ALL["distillation"], ALL["inputs"]
TEACHER, STUDENT = (torch.tensor(VECTORS[f"{who}_logits"], dtype=torch.float64) for who in ("teacher", "student"))
TARGETS = (0, 1)


def close(ours: torch.Tensor, expected: object) -> None:
    torch.testing.assert_close(ours, torch.as_tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


def taught(algorithm: Algorithm, student_logits: torch.Tensor) -> torch.Tensor:
    """The loss of an attempt with two sampled tokens after a prompt of one, from what teacher and student say about each."""
    asked = algorithm.candidates
    teacher = (TEACHER / asked.temperature).log_softmax(-1)
    ids = teacher.topk(min(asked.count, teacher.shape[-1]), dim=-1).indices
    with_rest = ids.shape[-1] < teacher.shape[-1]
    columns = at_candidates(teacher, ids, with_rest=with_rest)
    trajectory = Trajectory(
        problem_id="p",
        messages=(),
        token_ids=(4, *TARGETS),
        sampled=(False, True, True),
        candidate_ids=((), *map(tuple, ids.tolist())),
        teacher_candidate_logprobs=((), *map(tuple, columns.tolist())),
        model="m",
        origin="teacher",
    )
    batch, counts = batched([Sample(trajectory=trajectory)])
    own = student_logits.log_softmax(-1)[torch.arange(2), torch.tensor(TARGETS)]
    soft = at_candidates((student_logits / asked.temperature).log_softmax(-1), ids, with_rest=with_rest)
    policy = PolicyOutput(F.pad(own, (1, 0))[None], None, F.pad(soft, (0, 0, 1, 0))[None])
    return algorithm.loss(policy, batch, counts).loss


def batched(samples: list[Sample]) -> tuple[Batch, Totals]:
    return collate(samples, pad_id=0, sources=("",), dtype=torch.float64), totals(samples, ("",), torch.float64)


@pytest.mark.parametrize("name", VECTORS["generalised_jsd_beta_teacher_weight"])
def test_every_divergence_and_temperature_is_that_of_gkd_and_with_t_squared_of_kd(name):
    temperature, beta = (float(part[1:] if part[0] == "T" else part[4:]) for part in name.split("_"))
    expected = VECTORS["generalised_jsd_beta_teacher_weight"][name]["mean"]
    close(taught(Gkd(beta=beta, temperature=temperature), STUDENT), expected)
    close(taught(Kd(beta=beta, temperature=temperature), STUDENT), temperature**2 * expected)


@pytest.mark.parametrize("count", [1, 2])
def test_top_k_has_a_tail(count):
    expected = VECTORS["forward_kl_topk_per_position"][f"top{count}_tail"]
    close(taught(Kd(num_candidates=count), STUDENT), sum(expected) / 2)


def test_hard_labels_are_mixed_in_at_temperature_one():
    expected = VECTORS["classic_kd"]
    close(taught(Kd(temperature=2.0), STUDENT), expected["hinton_T2_scaled_T2"])
    close(taught(Kd(temperature=2.0, alpha=0.5), STUDENT), expected["mix_alpha0.5_T2"])


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_gradient_by_the_students_logits_is_hintons(temperature):
    """d loss / d logits = T (student_T - teacher_T) for each position, over the number of positions."""
    logits = STUDENT.clone().requires_grad_()
    taught(Kd(temperature=temperature), logits).backward()
    soft = ((STUDENT / temperature).softmax(-1), (TEACHER / temperature).softmax(-1))
    close(logits.grad, temperature * (soft[0] - soft[1]) / 2)


@pytest.mark.parametrize(("aggregation", "key", "scale"), [("token_mean", "mean", 1.0), ("sequence_sum", "sum", 0.25)])
def test_on_policy_distillation(aggregation, key, scale):
    samples = [
        Sample(
            trajectory=Trajectory(
                problem_id=str(row),
                messages=(),
                token_ids=(1,) * (1 + len(sampler)),
                sampled=(False,) + (True,) * len(sampler),
                behavior_logprobs=(0.0, *sampler),
                teacher_logprobs=(0.0, *teacher),
                model="m",
                origin="policy",
            )
        )
        for row, (sampler, teacher) in enumerate(zip(INPUTS["logp_rollout_engine"], INPUTS["logp_ref_or_teacher"], strict=True))
    ]
    batch, counts = batched(samples)
    new = torch.zeros(batch.token_ids.shape, dtype=torch.float64)
    for row, values in enumerate(INPUTS["logp_new"]):
        new[row, 1 : 1 + len(values)] = torch.tensor(values, dtype=torch.float64)
    new.requires_grad_()
    out = Opd(aggregation=aggregation).loss(PolicyOutput(new), batch, counts)
    expected = VECTORS["on_policy_distillation"]
    close(out.loss, scale * expected[f"is_loss_token_{key}"])
    close(out.metrics["distillation/reverse_kl"], expected["mean_reverse_kl_token"])
    (slope,) = torch.autograd.grad(out.loss, new)
    ratio = (new - batch.behavior_logprobs).exp()
    advantages = torch.zeros_like(new)
    for row, values in enumerate(expected["advantage_per_token_coef1"]):
        advantages[row, 1 : 1 + len(values)] = torch.tensor(values, dtype=torch.float64)
    count = 14 if aggregation == "token_mean" else 4
    close(slope, (-(ratio * advantages) / count).detach())


def test_a_discount_credits_a_token_with_what_follows():
    """On the sampler's own policy the gradient is minus the credit."""
    expected = VECTORS["on_policy_distillation"]["advantage_per_token_discount0.9"]
    sampler, teacher = INPUTS["logp_rollout_engine"][1], INPUTS["logp_ref_or_teacher"][1]
    trajectory = Trajectory(
        problem_id="p",
        messages=(),
        token_ids=(1,) * len(sampler),
        sampled=(True,) * len(sampler),
        behavior_logprobs=tuple(sampler),
        teacher_logprobs=tuple(teacher),
        model="m",
        origin="policy",
    )
    batch, counts = batched([Sample(trajectory=trajectory)])
    new = batch.behavior_logprobs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(Opd(discount=0.9).loss(PolicyOutput(new), batch, counts).loss, new)
    close(-slope[0] * len(sampler), expected[1])
