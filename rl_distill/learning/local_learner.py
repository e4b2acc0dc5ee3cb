"""One process, on a CPU or one GPU."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rl_distill.algorithms.base import Algorithm
from rl_distill.batch import Batch, Candidates, PolicyOutput
from rl_distill.errors import InputError
from rl_distill.learning.learner import LearnerConfig, StepReport
from rl_distill.learning.learner_process import LearnerProcess, buckets, parameter_groups, step_report
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.precision import autocast
from rl_distill.learning.scorer import score_all
from rl_distill.learning.step_norms import GradientShares, UpdateNorm
from rl_distill.learning.step_plan import plan_step
from rl_distill.learning.training_state import MOMENTS, fields_of, read_state, read_steps_done, write_state
from rl_distill.models.digest import weight_digests
from rl_distill.models.loading import save_pretrained
from rl_distill.models.logprobs import policy_output
from rl_distill.models.outgoing import OutgoingWeights
from rl_distill.models.weights import WeightUpdate
from rl_distill.trajectory import Sample, Trajectory


class LocalLearner(LearnerProcess):
    """The whole learner in this process, with the model given to it.

    Args:
        temperature: of the sampler whose tokens are trained on; log-probs are taken at it.
        beside: further terms of the loss, each for the samples of its own source.
        total_steps: optimizer steps of the stage, or None where a token budget ends it.
        publish_dtype: of the weights that engines get.
        publish_merged: engines hold plain models, so a student's adapters reach them added to its weights.
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
        publish_dtype: torch.dtype = torch.float32,
        publish_merged: bool = False,
    ) -> None:
        super().__init__(tokenizer, (LossTerm(algorithm=algorithm, temperature=temperature), *beside), config, total_steps)
        self.device = torch_device(config.device)
        self.model = model.to(device=self.device, dtype=torch.float32).train()
        self.outgoing = OutgoingWeights(self.model, publish_dtype, merged=publish_merged)
        self.named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.trained = list(self.named.values())
        if config.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.trained, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            fused=True,
        )

    def step(self, samples: Sequence[Sample], *, schedule_step: int | None = None) -> StepReport:
        (shares,) = plan_step(samples, self.terms, num_processes=1, max_tokens=self.config.micro_batch_tokens)
        return step_report(shares, [self.step_share(shares, schedule_step=schedule_step)])

    def logprobs(self, trajectories: Sequence[Trajectory], *, temperature: float = 1.0) -> list[tuple[float, ...]]:
        return score_all(trajectories, self.config.micro_batch_tokens, partial(self.score, temperature=temperature))

    def publish(self, version: int) -> WeightUpdate:
        (tensors,) = self.weights(2**62)
        num_bytes = sum(tensor.nbytes for tensor in tensors.values())
        digests = self.outgoing.frozen | weight_digests(tensors)
        return WeightUpdate(version=version, tensors=tensors, digests=digests, num_bytes=num_bytes, lora=self.outgoing.lora)

    def weights(self, max_bytes: int, *, copy: bool = False) -> Iterator[dict[str, Tensor]]:
        for names in buckets(self.outgoing.sizes, max_bytes):
            yield self.outgoing.tensors(names, copy=copy)

    def save(self, folder: Path) -> None:
        state = self.optimizer.state
        fields = {name: fields_of(parameter, state[parameter]) for name, parameter in self.named.items()}
        write_state(folder, [fields], self.steps_done)

    def load(self, folder: Path) -> None:
        with torch.no_grad():
            for name, fields in read_state(folder, self.named):
                parameter = self.named[name]
                parameter.copy_(fields["weight"])
                moments = {field: fields[field].to(self.device) for field in MOMENTS}
                self.optimizer.state[parameter] = {"step": fields["updates"].reshape(()).to(self.device), **moments}
        self.steps_done = read_steps_done(folder)

    def export(self, folder: Path) -> None:
        save_pretrained(self.model, self.tokenizer, folder)

    def close(self) -> None:
        """Nothing to do: the model goes with the object."""

    def _begin_step(self, passes: int) -> None:
        """Gradients simply add up."""

    def _forward(self, batch: Batch, temperature: float, candidates: Candidates | None = None) -> PolicyOutput:
        with autocast(self.device, self.config.precision):
            return policy_output(
                self.model,
                batch.token_ids,
                batch.attention_mask,
                batch.loss_mask | batch.lesson_mask,
                temperature=temperature,
                chunk_tokens=self.config.logprob_chunk_tokens,
                compared=batch.compared(candidates),
            )

    def _backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    def _gradient_shares(self) -> GradientShares:
        return GradientShares(self.trained, [term.label for term in self.terms])

    def _update(self, rate: float, loss: float) -> dict[str, float]:
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.config.max_grad_norm or float("inf")).item()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.steps_done += 1  # before the weights change: a step that fails half-way must not pass for one that never began
        facts = {"gradient/norm": norm, "learner/skipped": 1.0, "update/norm": 0.0, "update/relative": 0.0}
        if math.isfinite(norm) and math.isfinite(loss):
            moved = UpdateNorm(self.trained)
            self.optimizer.step()
            facts |= {"learner/skipped": 0.0, **moved.metrics(self.trained)}
        self.optimizer.zero_grad(set_to_none=True)
        return facts


def torch_device(name: str) -> torch.device:
    """Where a learner computes."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "learner.device", "is 'cuda', and torch finds no GPU", "use auto or cpu, or install a CUDA build of torch"
        )
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
