"""One process, on a CPU or one GPU."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from rl_distill.algorithms.base import Algorithm
from rl_distill.batch import Batch, PolicyOutput, source_names, totals
from rl_distill.errors import InputError, RunError
from rl_distill.learning.learner import LearnerConfig, StepReport
from rl_distill.learning.micro_steps import accumulate
from rl_distill.learning.precision import autocast
from rl_distill.learning.schedule import rate_fraction
from rl_distill.learning.scorer import sampled_logprobs
from rl_distill.models.digest import weight_digest
from rl_distill.models.loading import save_pretrained
from rl_distill.models.logprobs import policy_output
from rl_distill.models.weights import WeightUpdate
from rl_distill.trajectory import Sample, Trajectory


class LocalLearner:
    """AdamW on a model of its own. It does not know which algorithm it runs.

    Args:
        temperature: of the sampler whose tokens are trained on; log-probs are taken at it.
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
        total_steps: int | None = None,
    ) -> None:
        self.device = torch.device(_device(config.device))
        self.model = model.to(device=self.device, dtype=torch.float32).train()
        self.tokenizer, self.algorithm, self.config = tokenizer, algorithm, config
        self.temperature, self.total_steps, self.steps_done = temperature, total_steps, 0
        if config.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            fused=True,
        )
        self._rate_fraction()  # a schedule that cannot be computed fails here, not at the first step

    def step(self, samples: Sequence[Sample]) -> StepReport:
        sources = source_names(samples)
        metrics = accumulate(
            self.algorithm,
            samples,
            self._forward,
            sources=sources,
            counts=totals(samples, sources).to(self.device),
            pad_id=self.tokenizer.pad_token_id,
            max_tokens=self.config.micro_batch_tokens,
        )
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm or float("inf"))
        if not (torch.isfinite(norm) and torch.isfinite(torch.tensor(metrics["loss"]))):
            self.optimizer.zero_grad(set_to_none=True)
            raise RunError(
                f"loss is {metrics['loss']} and the gradient norm {norm.item()} at optimizer step {self.steps_done}: the weights "
                "were left as they were; try a lower learner.learning_rate or precision float32, in a new run_dir"
            )
        rate = self.config.learning_rate * self._rate_fraction()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.steps_done += 1  # before the weights change: a step that fails half-way must not pass for one that never began
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepReport(metrics=metrics | {"gradient/norm": norm.item(), "learner/learning_rate": rate})

    def logprobs(self, trajectories: Sequence[Trajectory]) -> list[tuple[float, ...]]:
        return sampled_logprobs(
            self.model,
            trajectories,
            pad_id=self.tokenizer.pad_token_id,
            temperature=self.temperature,
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

    def _forward(self, batch: Batch) -> PolicyOutput:
        with autocast(self.device, self.config.precision):
            return policy_output(
                self.model,
                batch.token_ids,
                batch.attention_mask,
                batch.loss_mask | batch.lesson_mask,
                temperature=self.temperature,
                chunk_tokens=self.config.logprob_chunk_tokens,
            )

    def _rate_fraction(self) -> float:
        warmup = self.config.warmup_steps
        if warmup is None:
            warmup = round(self.config.warmup_fraction * (self.total_steps or 0))
        return rate_fraction(
            self.steps_done,
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


def _parameter_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
