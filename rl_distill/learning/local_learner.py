"""One process, on a CPU or one GPU."""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from rl_distill.algorithms.base import Algorithm
from rl_distill.batch import Batch, PolicyOutput, source_names, totals
from rl_distill.errors import InputError, RunError
from rl_distill.learning.learner import LearnerConfig, StepReport
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.micro_steps import accumulate
from rl_distill.learning.precision import autocast
from rl_distill.learning.schedule import rate_fraction
from rl_distill.learning.scorer import sampled_logprobs
from rl_distill.learning.step_norms import GradientShares, UpdateNorm
from rl_distill.models.digest import weight_digest
from rl_distill.models.loading import save_pretrained
from rl_distill.models.logprobs import policy_output
from rl_distill.models.weights import WeightUpdate
from rl_distill.trajectory import Sample, Trajectory


class LocalLearner:
    """AdamW on a model of its own. It does not know which algorithm it runs.

    Args:
        temperature: of the sampler whose tokens are trained on; log-probs are taken at it.
        beside: further terms of the loss, each for the samples of its own source.
        total_steps: optimizer steps of the stage, or None where a token budget ends it.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        algorithm: Algorithm,
        config: LearnerConfig,
        *,
        temperature: float = 1.0,
        beside: Sequence[LossTerm] = (),
        total_steps: int | None = None,
    ) -> None:
        self.device = torch.device(_device(config.device))
        self.model = model.to(device=self.device, dtype=torch.float32).train()
        self.tokenizer, self.config = tokenizer, config
        self.terms = (LossTerm(algorithm=algorithm, temperature=temperature), *beside)
        self.total_steps, self.steps_done = total_steps, 0
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if config.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.trained, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            fused=True,
        )
        self._rate_fraction()  # a schedule that cannot be computed fails here, not at the first step

    def step(self, samples: Sequence[Sample], *, schedule_step: int | None = None) -> StepReport:
        metrics, gradient = self._backward(samples)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.config.max_grad_norm or float("inf")).item()
        rate = self.config.learning_rate * self._rate_fraction(schedule_step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        metrics |= {"gradient/norm": norm, **gradient.metrics(norm), "learner/learning_rate": rate}
        self.steps_done += 1  # before the weights change: a step that fails half-way must not pass for one that never began
        if math.isfinite(norm) and math.isfinite(metrics["loss"]):
            moved = UpdateNorm(self.trained)
            self.optimizer.step()
            metrics |= {"learner/skipped": 0.0, **moved.metrics()}
        else:
            metrics |= {"learner/skipped": 1.0, "update/norm": 0.0, "update/relative": 0.0}
        self.optimizer.zero_grad(set_to_none=True)
        return StepReport(metrics=metrics)

    def _backward(self, samples: Sequence[Sample]) -> tuple[dict[str, float], GradientShares]:
        """The step's gradient, in the parameters: every term on its own totals, times its weight."""
        metrics: dict[str, float] = {}
        loss = 0.0
        by_term = [(term, [sample for sample in samples if sample.source == term.source]) for term in self.terms]
        present = [(term, share) for term, share in by_term if share]
        if not samples or sum(len(share) for _, share in present) != len(samples):
            known = ", ".join(repr(term.source) for term in self.terms)
            raise ValueError(f"source: a step has samples, and each comes from one of {known}")
        gradient = GradientShares(self.trained, [term.label for term in self.terms])
        for term, share in present:
            sources = source_names(share)
            found = accumulate(
                term.algorithm,
                share,
                partial(self._forward, temperature=term.temperature),
                sources=sources,
                counts=totals(share, sources).to(self.device),
                pad_id=self.tokenizer.pad_token_id,
                max_tokens=self.config.micro_batch_tokens,
                weight=term.weight,
            )
            gradient.mark(term.label)
            loss += term.weight * found["loss"]
            metrics |= {term.path(name): value for name, value in found.items()}
        return metrics | {"loss": loss}, gradient

    def logprobs(self, trajectories: Sequence[Trajectory], *, temperature: float = 1.0) -> list[tuple[float, ...]]:
        return sampled_logprobs(
            self.model,
            trajectories,
            pad_id=self.tokenizer.pad_token_id,
            temperature=temperature,
            max_tokens=self.config.micro_batch_tokens,
            chunk_tokens=self.config.logprob_chunk_tokens,
            precision=self.config.precision,
        )

    def publish(self, version: int) -> WeightUpdate:
        tensors = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        return WeightUpdate(version=version, tensors=tensors, digest=weight_digest(tensors))

    def save(self, folder: Path) -> None:
        tensors = {name: parameter.detach().contiguous() for name, parameter in self.model.named_parameters()}
        save_file(tensors, folder / "weights.safetensors")
        with (folder / "optimizer.pt").open("wb") as file:  # given a path, torch would not say why writing failed
            torch.save(self.optimizer.state_dict(), file)
        (folder / "learner.json").write_text(json.dumps({"steps_done": self.steps_done}))

    def load(self, folder: Path) -> None:
        saved = load_file(folder / "weights.safetensors", device=str(self.device))
        parameters = dict(self.model.named_parameters())
        if saved.keys() != parameters.keys():
            raise RunError(
                f"checkpoint {folder}: its weights are not this student's ({len(saved)} tensors against {len(parameters)})"
            )
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(saved[name])
        self.optimizer.load_state_dict(torch.load(folder / "optimizer.pt", map_location=self.device, weights_only=True))
        self.steps_done = json.loads((folder / "learner.json").read_text())["steps_done"]

    def export(self, folder: Path) -> None:
        save_pretrained(self.model, self.tokenizer, folder)

    def _forward(self, batch: Batch, temperature: float) -> PolicyOutput:
        with autocast(self.device, self.config.precision):
            return policy_output(
                self.model,
                batch.token_ids,
                batch.attention_mask,
                batch.loss_mask | batch.lesson_mask,
                temperature=temperature,
                chunk_tokens=self.config.logprob_chunk_tokens,
            )

    def _rate_fraction(self, step: int | None = None) -> float:
        warmup = self.config.warmup_steps
        if warmup is None:
            warmup = round(self.config.warmup_fraction * (self.total_steps or 0))
        return rate_fraction(
            self.steps_done if step is None else step,
            schedule=self.config.schedule,
            warmup_steps=warmup,
            total_steps=self.total_steps,
            floor=self.config.floor_fraction,
        )


def _device(name: str) -> str:
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "learner.device", "is 'cuda', and torch finds no GPU", "use auto or cpu, or install a CUDA build of torch"
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _parameter_groups(trained: Sequence[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    return [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
