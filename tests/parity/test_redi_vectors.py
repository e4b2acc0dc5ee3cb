"""Every REDI vector, in float64: REDI, DPO, SimPO and both readings of stage-1 SFT; losses and gradients."""

import json
from pathlib import Path

import pytest
import torch

from rl_distill.algorithms.dpo import Dpo
from rl_distill.algorithms.redi import Redi
from rl_distill.algorithms.sft import Sft
from rl_distill.algorithms.simpo import Simpo
from rl_distill.batch import Batch, PolicyOutput, collate, totals
from rl_distill.trajectory import Sample, Trajectory

CASES = {case["id"]: case for case in json.loads((Path(__file__).parent / "redi_vectors.json").read_text())["cases"]}
PROMPT = 3
TOLERANCE = 1e-9


def sample(logps: list[float], label: int, unit: str, reference_sum: float | None) -> Sample:
    reference = None if reference_sum is None else (0.0,) * PROMPT + (reference_sum / len(logps),) * len(logps)
    return Sample(
        trajectory=Trajectory(
            problem_id=unit,
            messages=(),
            token_ids=tuple(range(PROMPT + len(logps))),
            sampled=(False,) * PROMPT + (True,) * len(logps),
            reference_logprobs=reference,
            model="teacher",
            origin="teacher",
        ),
        label=label,
        unit=unit,
    )


def evaluate(algorithm, positives, negatives, references=(None, None)):
    """Loss, and its gradients at the chosen and the rejected tokens, for log-probs [rows of tokens]."""
    rows, samples = [], []
    for index, (positive, negative) in enumerate(zip(positives, negatives, strict=True)):
        samples += [sample(positive, 1, f"u{index}", references[0]), sample(negative, -1, f"u{index}", references[1])]
        rows += [positive, negative]
    batch: Batch = collate(samples, pad_id=0, sources=("",), dtype=torch.float64)
    logprobs = torch.full(batch.token_ids.shape, -99.0, dtype=torch.float64)
    for index, row in enumerate(rows):
        logprobs[index, PROMPT : PROMPT + len(row)] = torch.tensor(row, dtype=torch.float64)
    logprobs.requires_grad_()
    out = algorithm.loss(PolicyOutput(logprobs), batch, totals(samples, ("",), torch.float64))
    (gradient,) = torch.autograd.grad(out.loss, logprobs)
    assert not gradient[~batch.loss_mask].any()
    picked = [gradient[index, PROMPT : PROMPT + len(row)].tolist() for index, row in enumerate(rows)]
    return out, picked[0::2], picked[1::2]


def close(ours, expected):
    """The vectors are printed with ten decimals."""
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=TOLERANCE)


@pytest.mark.parametrize("case_id", ["tv1_single_pair", "tv3_batch_with_padding"])
def test_redi_loss_and_gradients(case_id):
    case = CASES[case_id]
    out, chosen, rejected = evaluate(Redi(negative_coef=case["alpha"]), case["pos_logps"], case["neg_logps"])
    assert out.loss.item() == pytest.approx(case["loss"], abs=TOLERANCE)
    close(chosen, case["dloss_dpos"])
    close(rejected, case["dloss_dneg"])
    for wrong in case.get("must_not_equal", {}).values():
        assert abs(out.loss.item() - wrong) > 1e-3


@pytest.mark.parametrize("alpha", CASES["tv2_alpha_sweep"]["by_alpha"])
def test_redi_alpha_sweep(alpha):
    base, expected = CASES["tv1_single_pair"], CASES["tv2_alpha_sweep"]["by_alpha"][alpha]
    out, chosen, rejected = evaluate(Redi(negative_coef=float(alpha)), base["pos_logps"], base["neg_logps"])
    assert out.loss.item() == pytest.approx(expected["loss"], abs=TOLERANCE)
    close(chosen, [[expected["dloss_dpos_each"]] * 4])
    close(rejected, [[expected["dloss_dneg_each"]] * 3])


def test_redi_at_the_logits():
    case = CASES["tv4_logits"]
    logits = {side: torch.tensor(case[f"{side}_logits"], dtype=torch.float64, requires_grad=True) for side in ("pos", "neg")}
    rows = {side: logits[side].log_softmax(-1).gather(-1, torch.tensor(case[f"{side}_labels"])[:, None])[:, 0] for side in logits}
    close([rows["pos"].tolist(), rows["neg"].tolist()], [case["pos_logps"], case["neg_logps"]])
    samples = [sample(rows["pos"].tolist(), 1, "u", None), sample(rows["neg"].tolist(), -1, "u", None)]
    batch = collate(samples, pad_id=0, sources=("",), dtype=torch.float64)
    logprobs = torch.stack(
        [torch.nn.functional.pad(row, (PROMPT, batch.token_ids.shape[1] - PROMPT - len(row))) for row in rows.values()]
    )
    loss = Redi(negative_coef=case["alpha"]).loss(PolicyOutput(logprobs), batch, totals(samples, ("",), torch.float64)).loss
    assert loss.item() == pytest.approx(case["loss"], abs=TOLERANCE)
    loss.backward()
    close(logits["pos"].grad.tolist(), case["dloss_dpos_logits"])
    close(logits["neg"].grad.tolist(), case["dloss_dneg_logits"])


def test_simpo_and_its_limit():
    base, expected = CASES["tv1_single_pair"], CASES["tv5_baselines_on_tv1"]["simpo"]
    out, chosen, rejected = evaluate(Simpo(beta=expected["beta"], gamma=expected["gamma"]), base["pos_logps"], base["neg_logps"])
    assert out.loss.item() == pytest.approx(expected["loss"], abs=TOLERANCE)
    close(chosen, [[expected["dloss_dpos_each"]] * 4])
    close(rejected, [[expected["dloss_dneg_each"]] * 3])
    limit = CASES["tv5_baselines_on_tv1"]["simpo_limit"]
    _, chosen, rejected = evaluate(Simpo(beta=limit["beta"], gamma=limit["gamma"]), base["pos_logps"], base["neg_logps"])
    scale = limit["beta"] * torch.sigmoid(torch.tensor(limit["gamma"], dtype=torch.float64)).item()
    assert chosen[0][0] / scale == pytest.approx(limit["rescaled_dloss_dpos_each"], abs=TOLERANCE)
    assert rejected[0][0] / scale == pytest.approx(limit["rescaled_dloss_dneg_each"], abs=TOLERANCE)


def test_dpo():
    base, expected = CASES["tv1_single_pair"], CASES["tv5_baselines_on_tv1"]["dpo"]
    references = (expected["ref_pos_sum"], expected["ref_neg_sum"])
    out, chosen, rejected = evaluate(Dpo(beta=expected["beta"]), base["pos_logps"], base["neg_logps"], references)
    assert out.loss.item() == pytest.approx(expected["loss"], abs=TOLERANCE)
    close(chosen, [[expected["dloss_dpos_each"]] * 4])
    close(rejected, [[expected["dloss_dneg_each"]] * 3])


def test_optional_bounded_negative():
    case = CASES["tv6_optional_negative_weighting_repo_only"]
    algorithm = Redi(negative_coef=case["alpha"], negative_decay=case["gamma"])
    out, _, rejected = evaluate(algorithm, case["pos_logps"], case["neg_logps"])
    assert out.loss.item() == pytest.approx(case["loss"], abs=TOLERANCE)
    close(rejected, [[case["dloss_dneg_each"]] * 3])
    out, _, rejected = evaluate(algorithm, case["pos_logps"], case["second"]["neg_logps"])
    assert out.loss.item() == pytest.approx(case["second"]["loss"], abs=TOLERANCE)
    close(rejected, [[case["second"]["dloss_dneg_each"]] * 2])


def test_redi_is_unbounded_below():
    case = CASES["tv7_unbounded"]
    for negative, expected in zip(case["mean_neg_logp"], case["loss"], strict=True):
        out, _, _ = evaluate(Redi(negative_coef=case["alpha"]), [[case["mean_pos_logp"]]], [[negative]])
        assert out.loss.item() == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("aggregation", "key"),
    [
        ("token_mean", "token_mean_loss_as_in_code"),
        ("sequence_sum", "paper_eq1_sequence_sum_mean"),
        ("sequence_mean", "mean_of_sequence_means"),
    ],
)
def test_stage_one_sft(aggregation, key):
    case = CASES["tv8_stage1_sft"]
    samples = [sample(row, 1, "", None) for row in case["pos_logps"]]
    batch = collate(samples, pad_id=0, sources=("",), dtype=torch.float64)
    logprobs = torch.full(batch.token_ids.shape, -99.0, dtype=torch.float64)
    for index, row in enumerate(case["pos_logps"]):
        logprobs[index, PROMPT : PROMPT + len(row)] = torch.tensor(row, dtype=torch.float64)
    out = Sft(aggregation=aggregation).loss(PolicyOutput(logprobs), batch, totals(samples, ("",), torch.float64))
    assert out.loss.item() == pytest.approx(case[key], abs=TOLERANCE)
