"""A small model, rows in TRL's formats and the trainer on both: for tests of the door to TRL and the script of two processes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import datasets
import torch
from transformers import TrainerCallback, TrainingArguments

from rl_distill.algorithms import ALGORITHMS
from rl_distill.algorithms.base import Algorithm, LossOutput
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.config import config
from rl_distill.errors import InputError
from rl_distill.integrations.requirements import check_algorithm
from rl_distill.integrations.trl_trainer import AlgorithmTrainer
from rl_distill.learning.learner import LearnerConfig
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.trajectory import Group, Sample

TOKENIZER = arithmetic_tokenizer()
RATE = 3e-3


def _is_offline(name: str) -> bool:
    try:
        check_algorithm(ALGORITHMS[name]())
    except InputError:
        return False
    return True


OFFLINE = [name for name in ALGORITHMS if _is_offline(name)]


def small_model(seed: int = 0) -> Any:
    return Architecture(
        seed=seed, hidden_size=16, intermediate_size=32, num_layers=2, max_context=96, initializer_range=0.2
    ).build(TOKENIZER)


def pair_rows(count: int = 12) -> list[dict[str, str]]:
    """Preference rows in the standard format, their responses of 4 to 14 tokens."""
    rows = []
    for index in range(count):
        one, other = index % 7, 1 + index % 5
        steps = " ".join(f"{one} + {k} = {one + k}." for k in range(1 + index % 3))
        row = {
            "prompt": f"{one} + {other} = ?",
            "chosen": f"{steps} \\boxed{{{one + other}}}",
            "rejected": f"\\boxed{{{other}}}" + " no" * (index % 4),
        }
        rows.append({column: TOKENIZER.decode(TOKENIZER.encode(text)) for column, text in row.items()})
    return rows


def table(rows: list[dict[str, Any]]) -> datasets.Dataset:
    return datasets.Dataset.from_list(rows)


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    """AdamW at a constant rate, the data in their order, nothing saved, every step logged."""
    settings: dict[str, Any] = {
        "use_cpu": True,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 2,
        "num_train_epochs": 1,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }
    return TrainingArguments(output_dir=str(folder), **(settings | changes))


@config
class Whitened(Algorithm):
    """A user's own: every attempt, its reward centred over the whole step, by a ratio of two sums as a metric."""

    name: Literal["whitened"] = "whitened"

    def samples(self, group: Group) -> list[Sample]:
        return [Sample(trajectory=one, advantage=one.reward or 0.0) for one in group.trajectories]

    def finish(self, samples: Sequence[Sample]) -> list[Sample]:
        mean = sum(sample.advantage for sample in samples) / len(samples)
        return [replace(sample, advantage=sample.advantage - mean) for sample in samples]

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        values = -batch.advantages[:, None] * policy.logprobs * batch.loss_mask
        chosen = (policy.logprobs.detach() * batch.loss_mask).sum() / totals.tokens.sum()
        rows = torch.tensor(float(len(batch.advantages)))
        return LossOutput(values.sum() / totals.tokens.sum(), {"logprob/chosen": chosen, "reward/rows": rows})

    def summarize(self, metrics: dict[str, float]) -> dict[str, float]:
        return metrics | {"reward/mean": metrics["logprob/chosen"] / metrics["reward/rows"]}


LEARNER = LearnerConfig(learning_rate=RATE, schedule="constant", warmup_steps=0)


def trainer(folder: Path, algorithm: Algorithm, rows: Any = None, *, model: Any = None, **options: Any) -> AlgorithmTrainer:
    """Keys of TrainingArguments go under `args`, everything else to the trainer."""
    return AlgorithmTrainer(
        small_model() if model is None else model,
        arguments(folder, **options.pop("args", {})),
        algorithm=algorithm,
        train_dataset=table(pair_rows()) if rows is None else rows,
        processing_class=TOKENIZER,
        **options,
    )


class Gradients(TrainerCallback):
    """What the optimizer is given at each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **others: Any) -> None:
        self.steps.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def training_log(of: AlgorithmTrainer) -> list[Mapping[str, float]]:
    """The lines about training, one for each step."""
    return [line for line in of.state.log_history if "loss" in line]
