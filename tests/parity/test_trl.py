"""Our losses against the code of TRL's own trainers, on random batches, where both define the same thing."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from rl_distill.algorithms.base import Algorithm
from rl_distill.algorithms.dpo import Dpo
from rl_distill.algorithms.grpo import Cispo, Dapo, DrGrpo, Grpo, Gspo
from rl_distill.batch import PolicyOutput, collate, totals
from rl_distill.trajectory import Sample, Trajectory

trl = pytest.importorskip("trl", reason="trl is in the dev extra")

PROMPT, WIDTH = 3, 7


def random_case(seed: int, num_rows: int):
    """Ragged responses after a prompt of three tokens, with log-probs of everyone and an advantage for each row; float64."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, WIDTH + 1, (num_rows,), generator=generator).tolist()
    lengths[0] = WIDTH

    def draw(scale: float = 1.0) -> torch.Tensor:
        return -scale * torch.rand(num_rows, WIDTH, generator=generator, dtype=torch.float64)

    new, old, reference = draw(2.0), draw(2.0), draw(2.0)
    advantages = torch.randn(num_rows, generator=generator, dtype=torch.float64)
    return lengths, new, old, reference, advantages


def ours(algorithm: Algorithm, lengths, new, old, reference, advantages, labels=None, units=None):
    samples = [
        Sample(
            trajectory=Trajectory(
                problem_id="p",
                messages=(),
                token_ids=(1,) * (PROMPT + length),
                sampled=(False,) * PROMPT + (True,) * length,
                behavior_logprobs=(0.0,) * PROMPT + tuple(old[row, :length].tolist()),
                proximal_logprobs=(0.0,) * PROMPT + tuple(old[row, :length].tolist()),
                reference_logprobs=(0.0,) * PROMPT + tuple(reference[row, :length].tolist()),
                model="m",
                origin="policy",
            ),
            advantage=float(advantages[row]),
            label=1 if labels is None else labels[row],
            unit="" if units is None else units[row],
        )
        for row, length in enumerate(lengths)
    ]
    batch = collate(samples, pad_id=0, sources=("",), dtype=torch.float64)
    padded = torch.nn.functional.pad(new, (PROMPT, 0))
    return algorithm.loss(PolicyOutput(padded), batch, totals(samples, ("",), torch.float64)).loss


def trl_grpo(lengths, new, old, reference, advantages, *, loss_type, level="token", beta=0.0, low=0.2, high=0.2, delta=None):
    mask = torch.tensor([[position < length for position in range(WIDTH)] for length in lengths]).double()
    accelerator = SimpleNamespace(num_processes=1, sync_gradients=True, gather=lambda x: x, gather_for_metrics=lambda x: x)
    accelerator.reduce = lambda value, reduction="sum": value
    accelerator.device = torch.device("cpu")
    args = SimpleNamespace(
        use_bias_correction_kl=False, delta=delta, sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, steps_per_generation=1
    )
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (new, torch.zeros_like(new), None),
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level=level,
        beta=beta,
        args=args,
        loss_type=loss_type,
        epsilon_low=low,
        epsilon_high=high,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        accelerator=accelerator,
        _entropy_bonus_enabled=False,
        aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        max_completion_length=WIDTH,
    )
    inputs = {
        "prompt_ids": torch.ones(len(lengths), PROMPT, dtype=torch.long),
        "prompt_mask": torch.ones(len(lengths), PROMPT),
        "completion_ids": torch.ones(len(lengths), WIDTH, dtype=torch.long),
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum(),
    }
    return trl.GRPOTrainer._compute_loss(trainer, None, inputs)


SAME = {
    "grpo": (Grpo(kl_coef=0.0), {"loss_type": "grpo"}),
    "grpo_kl": (Grpo(kl_coef=0.04), {"loss_type": "grpo", "beta": 0.04}),
    "two_sided": (Grpo(kl_coef=0.0, ratio_cap=1.5), {"loss_type": "grpo", "delta": 1.5}),
    "dr_grpo": (DrGrpo(constant_tokens=WIDTH), {"loss_type": "dr_grpo"}),
    "dapo": (Dapo(), {"loss_type": "dapo", "high": 0.28}),
    "gspo": (Gspo(clip_low=0.2, clip_high=0.2), {"loss_type": "grpo", "level": "sequence"}),
    "cispo": (Cispo(), {"loss_type": "cispo", "high": 5.0}),
    "sapo": (Grpo(kl_coef=0.0, surrogate="sapo"), {"loss_type": "sapo"}),
}


TRL_ROUNDS = {"sapo": 1e-6}  # TRL makes SAPO's temperatures in float32, whatever the log-probs are


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SAME)
def test_grpo_family_equals_trl(name, seed):
    algorithm, settings = SAME[name]
    lengths, new, old, reference, advantages = random_case(seed, 6)
    gradients = []
    for loss_of in (
        lambda x: ours(algorithm, lengths, x, old, reference, advantages),
        lambda x: trl_grpo(lengths, x, old, reference, advantages, **settings),
    ):
        logprobs = new.clone().requires_grad_()
        loss = loss_of(logprobs)
        (gradient,) = torch.autograd.grad(loss, logprobs)
        gradients.append((loss.item(), gradient))
    tolerance = TRL_ROUNDS.get(name, 1e-9)
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=tolerance)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], atol=tolerance, rtol=0)


def trl_dpo(lengths, new, reference, beta):
    """TRL wants all chosen rows, then all rejected ones; its log-probs are those of tokens 1.. of the sequence."""
    rows = len(lengths)
    mask = torch.zeros(rows, PROMPT + WIDTH, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, PROMPT : PROMPT + length] = 1
    values = torch.nn.functional.pad(new, (PROMPT - 1, 0)) * mask[:, 1:]
    sums = (reference * mask[:, PROMPT:]).sum(1)
    flat = torch.zeros(rows, PROMPT + WIDTH - 1, dtype=torch.float64)
    outputs = SimpleNamespace(log_probs=values, entropy=flat, mean_logits=flat, is_top1=flat.bool())
    accelerator = SimpleNamespace(device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=accelerator,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=beta,
        use_weighting=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        label_smoothing=0.0,
    )
    inputs = {
        "input_ids": torch.ones(rows, PROMPT + WIDTH, dtype=torch.long),
        "attention_mask": torch.ones(rows, PROMPT + WIDTH),
        "completion_mask": mask,
        "ref_chosen_logps": sums[: rows // 2],
        "ref_rejected_logps": sums[rows // 2 :],
    }
    return trl.DPOTrainer._compute_loss(trainer, lambda **kwargs: outputs, inputs, return_outputs=False)


@pytest.mark.parametrize("seed", range(3))
def test_dpo_equals_trl(seed):
    lengths, new, _, reference, advantages = random_case(seed, 6)
    labels, units = [1, 1, 1, -1, -1, -1], ["a", "b", "c", "a", "b", "c"]
    gradients = []
    for loss_of in (
        lambda x: ours(Dpo(beta=0.3), lengths, x, new, reference, advantages, labels, units),
        lambda x: trl_dpo(lengths, x, reference, 0.3),
    ):
        logprobs = new.clone().requires_grad_()
        loss = loss_of(logprobs)
        (gradient,) = torch.autograd.grad(loss, logprobs)
        gradients.append((loss.item(), gradient))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-9)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], atol=1e-9, rtol=0)
