"""One rank of a DeepSpeed learner: ZeRO stage 0 to 3, on GPUs or, with gloo, on CPUs. The only file that imports deepspeed."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rl_distill.batch import Batch, Candidates, Compared, PolicyOutput
from rl_distill.errors import RunError
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.learner_process import LearnerProcess, buckets, parameter_groups
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.precision import autocast
from rl_distill.learning.step_norms import GradientShares, UpdateNorm
from rl_distill.learning.training_state import MOMENTS, read_state, read_steps_done, write_state
from rl_distill.models.loading import save_pretrained
from rl_distill.models.logprobs import policy_output
from rl_distill.models.outgoing import OutgoingWeights

BUCKET_ELEMENTS = 50_000_000  # of gradients or weights that ranks exchange at once
STATE_BYTES = 2**30  # of weights whose state is gathered at once for a checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How the ranks share a model.

    stage    of ZeRO: 0 shards nothing, 1 the optimizer, 2 gradients too, 3 parameters too
    offload  what lives in host memory
    """

    stage: int
    offload: Literal["none", "optimizer", "parameters"] = "none"


def join(rank: int, num_ranks: int, address: str, port: int, *, timeout_seconds: float) -> None:
    """Meet the other ranks. Comes before anything else of this module, and before any other use of torch.distributed.

    Raises:
        RunError: the others did not come in time.
    """
    os.environ |= {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_RANK": "0",  # each rank sees only the device it was given
    }
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    # A kernel for inference that DeepSpeed would otherwise compile now, for minutes, and training never calls.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    try:
        deepspeed.init_distributed(backend, timeout=timedelta(seconds=timeout_seconds), auto_mpi_discovery=False, verbose=False)
    except (RuntimeError, torch.distributed.DistError) as error:
        raise RunError(f"rank {rank} of {num_ranks} does not reach the others at {address}:{port} ({error})") from error


def leave() -> None:
    """Part from the other ranks, after `DeepspeedRank.close`: in another order DeepSpeed may abort the process."""
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


class DeepspeedRank(LearnerProcess):
    """This rank's part of a learner. Every method that touches weights is called on all ranks at once.

    Losses are sums over the totals of a whole step, so gradients are to be added up over ranks. DeepSpeed averages them: the loss
    is multiplied by the number of ranks, and the number of micro-batches is kept from it.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        terms: Sequence[LossTerm],
        config: LearnerConfig,
        sharding: Sharding,
        *,
        total_steps: int | None,
        publish_dtype: torch.dtype = torch.float32,
        publish_merged: bool = False,
    ) -> None:
        import deepspeed

        super().__init__(tokenizer, terms, config, total_steps)
        self.sharding = sharding
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.num_ranks = torch.distributed.get_world_size()
        self.rank = torch.distributed.get_rank()
        model = model.to(dtype=torch.float32).train()
        if sharding.offload == "none":
            model = model.to(self.device)
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.sizes = {name: parameter.nbytes for name, parameter in self.named.items()}
        self.trained = list(self.named.values())
        self.outgoing = OutgoingWeights(model, publish_dtype, merged=publish_merged)
        vectors = max((parameter.numel() for parameter in self.trained if parameter.ndim < 2), default=0)
        root = _Policy(model, config)
        if sharding.stage == 3:
            deepspeed.zero.register_external_parameter(root, model.get_output_embeddings().weight)
        optimizer = torch.optim.AdamW(
            parameter_groups(self.trained, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            fused=True,
        )
        self.engine, *_ = deepspeed.initialize(
            model=root,
            optimizer=optimizer,
            model_parameters=self.trained,
            config=_settings(config, sharding, vectors, sum(parameter.numel() for parameter in self.trained)),
        )
        self.model = model
        self._passes_left = 0
        self._prepare_moments()

    def weights(self, max_bytes: int, *, copy: bool = False) -> Iterator[dict[str, Tensor]]:
        for names in buckets(self.outgoing.sizes, max_bytes):
            with self._gathered(self.outgoing.parts(names)):
                yield self.outgoing.tensors(names, copy=copy)

    def save(self, folder: Path) -> None:
        """Write the whole state; rank 0 holds the pen, one bucket after another."""
        parts = self._state(STATE_BYTES)
        if self.rank == 0:
            write_state(folder, parts, self.steps_done)
        else:
            for _ in parts:
                pass

    def load(self, folder: Path) -> None:
        updates = 0.0
        for name, fields in read_state(folder, self.named):
            self._restore(name, fields)
            updates = max(updates, float(fields["updates"]))
        for state in self._adam.state.values():
            state["step"].fill_(updates)
        self.steps_done = read_steps_done(folder)

    def export(self, folder: Path) -> None:
        """The student in Hugging Face format, written by rank 0."""
        with self._gathered(list(self.model.parameters())):
            if self.rank == 0:
                save_pretrained(self.model, self.tokenizer, folder)

    def close(self) -> None:
        """Give back the engine; the ranks stay together."""
        self.engine.destroy()
        torch.distributed.barrier()

    def _begin_step(self, passes: int) -> None:
        self._passes_left = passes

    def _forward(self, batch: Batch, temperature: float, candidates: Candidates | None = None) -> PolicyOutput:
        if torch.is_grad_enabled():
            self.engine.set_gradient_accumulation_boundary(self._passes_left == 1)
        logprobs, entropy, at_candidates = self.engine(
            batch.token_ids,
            batch.attention_mask,
            batch.loss_mask | batch.lesson_mask,
            temperature=temperature,
            compared=batch.compared(candidates),
        )
        # Views: whoever differentiates by the log-probs alone must not set off what DeepSpeed has hung on its own output.
        return PolicyOutput(
            logprobs.view_as(logprobs), entropy, None if at_candidates is None else at_candidates.view_as(at_candidates)
        )

    def _backward(self, loss: Tensor) -> None:
        self._passes_left -= 1
        # A loss that is not finite spoils the gradient of all ranks, so that all skip the step.
        scale = torch.where(loss.detach().isfinite(), float(self.num_ranks), math.nan)
        self.engine.backward(loss * scale, scale_wrt_gas=False)

    def _gradient_shares(self) -> GradientShares:
        """None: DeepSpeed adds gradients up in buffers of its own, over all sources of a step."""
        return GradientShares((), ())

    def _update(self, rate: float, loss: float) -> dict[str, float]:
        for group in self._adam.param_groups:
            group["lr"] = rate
        self.steps_done += 1  # before the weights change: a step that fails half-way must not pass for one that never began
        moved = UpdateNorm(self._held(), self._over_ranks if self.sharding.stage == 3 else None)
        norm = self._whole_step() if self.sharding.stage == 0 else self._sharded_step()
        if not math.isfinite(norm):
            return {"gradient/norm": norm, "learner/skipped": 1.0, "update/norm": 0.0, "update/relative": 0.0}
        return {"gradient/norm": norm, "learner/skipped": 0.0, **moved.metrics(self._held())}

    def _whole_step(self) -> float:
        """Stage 0: every rank has the whole gradient, and DeepSpeed would not say how large it is."""
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.config.max_grad_norm or float("inf")).item()
        if math.isfinite(norm):
            self.engine.step()
        else:
            self.engine.zero_grad()
        return norm

    def _sharded_step(self) -> float:
        """Stage 1 to 3: DeepSpeed clips, and itself skips a step whose gradient is not finite."""
        self.engine.step()
        return math.nan if self.engine.optimizer.overflow else float(self.engine.get_global_grad_norm())

    @property
    def _adam(self) -> torch.optim.Optimizer:
        optimizer = self.engine.optimizer
        return optimizer.optimizer if self.sharding.stage else optimizer

    def _gathered(self, parameters: Sequence[nn.Parameter], modifier_rank: int | None = None) -> AbstractContextManager[Any]:
        """Whole parameters for a while, in every rank. What `modifier_rank` writes into them is kept."""
        if self.sharding.stage < 3:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters(list(parameters), modifier_rank=modifier_rank)

    def _held(self) -> list[Tensor]:
        """What this rank holds of the weights: all, or with stage 3 its part of each, without the padding of the last."""
        return [parameter.data if self.sharding.stage < 3 else self._own_part(parameter) for parameter in self.trained]

    def _own_part(self, parameter: Any) -> Tensor:
        size = parameter.ds_tensor.ds_numel
        left = max(0, min(size, parameter.ds_numel - self.rank * size))
        part: Tensor = parameter.ds_tensor.data.view(-1)[:left]
        return part

    def _over_ranks(self, value: Tensor) -> Tensor:
        torch.distributed.all_reduce(value)
        return value

    def _prepare_moments(self) -> None:
        """AdamW's state before its first step, which ZeRO would only make there: so it can be saved and loaded from the start."""
        optimizer, stage = self.engine.optimizer, self.sharding.stage
        flat = (
            self.trained
            if stage == 0
            else (optimizer.fp32_partitioned_groups_flat if stage == 3 else optimizer.single_partition_of_fp32_groups)
        )
        for tensor in flat:
            zeros = {key: torch.zeros_like(tensor.data) for key in MOMENTS}
            self._adam.state[tensor] = {"step": torch.zeros((), device=tensor.device), **zeros}
        if stage in (1, 2):
            optimizer._lazy_init_hp_params_optimizer_state()

    def _state(self, max_bytes: int) -> Iterator[dict[str, dict[str, Tensor]]]:
        """The whole state in buckets, in every rank."""
        updates = torch.as_tensor(next(iter(self._adam.state.values()))["step"], dtype=torch.float32).reshape(1)
        for names in buckets(self.sizes, max_bytes):
            yield {name: {**self._fields(self.named[name]), "updates": updates.clone()} for name in names}

    def _fields(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Weight and moments of one parameter, whole and in float32."""
        if self.sharding.stage == 0:
            state = self._adam.state[parameter]
            return {"weight": parameter.data, **{key: state[key] for key in MOMENTS}}
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        moments = {key: safe_get_full_optimizer_state(parameter, key) for key in MOMENTS}
        return {"weight": safe_get_full_fp32_param(parameter), **moments}

    def _restore(self, name: str, fields: Mapping[str, Tensor]) -> None:
        """Put one parameter's weight and moments where this rank keeps its part of them."""
        parameter: Any = self.named[name]
        given = {key: fields[key].to(self.device) for key in ("weight", *MOMENTS)}
        with torch.no_grad(), self._gathered([parameter], modifier_rank=0):
            parameter.copy_(given["weight"])
        if self.sharding.stage == 0:
            self._adam.state[parameter] |= {key: given[key] for key in MOMENTS}
            return
        from deepspeed import utils

        if self.sharding.stage < 3:
            utils.safe_set_full_fp32_param(parameter, given["weight"])
            for key in MOMENTS:
                utils.safe_set_full_optimizer_state(parameter, given[key], key)
            return
        parts = {key: self._cut(parameter, value) for key, value in given.items()}
        utils.safe_set_local_fp32_param(parameter, parts["weight"])
        for key in MOMENTS:
            utils.safe_set_local_optimizer_state(parameter, parts[key], key)

    def _cut(self, parameter: Any, value: Tensor) -> Tensor:
        """This rank's part of a tensor, padded as stage 3 pads it."""
        size = parameter.ds_tensor.ds_numel
        padded = torch.nn.functional.pad(value.flatten(), (0, size * self.num_ranks - value.numel()))
        return padded.narrow(0, size * self.rank, size)


class _Policy(nn.Module):
    """The module that DeepSpeed wraps: from tokens to log-probs, so that it sees every weight that is used."""

    def __init__(self, model: Any, config: LearnerConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(
        self,
        token_ids: Tensor,
        attention_mask: Tensor,
        wanted: Tensor,
        *,
        temperature: float,
        compared: Compared | None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        with autocast(token_ids.device, self.config.precision):
            out = policy_output(
                self.model,
                token_ids,
                attention_mask,
                wanted,
                temperature=temperature,
                chunk_tokens=self.config.logprob_chunk_tokens,
                compared=compared,
            )
        return out.logprobs, out.entropy, out.candidate_logprobs


def _settings(config: LearnerConfig, sharding: Sharding, vector_size: int, num_weights: int) -> dict[str, Any]:
    """DeepSpeed's own configuration. Counts of micro-batches are ours, so it is told of one."""
    bucket = max(1, min(BUCKET_ELEMENTS, num_weights))  # its own 500 million would take 2 GB however small the model is
    zero: dict[str, Any] = {"stage": sharding.stage, "overlap_comm": False, "reduce_bucket_size": bucket}
    if sharding.stage in (1, 2):
        zero["allgather_bucket_size"] = bucket
    if sharding.stage == 3:
        zero["stage3_param_persistence_threshold"] = vector_size  # biases and norms stay whole, matrices are cut
        zero["stage3_prefetch_bucket_size"] = bucket
    if sharding.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if sharding.offload == "parameters":
        zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": (config.max_grad_norm or 0.0) if sharding.stage else 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's AdamW on the host too: the same arithmetic, and nothing to compile
        "steps_per_print": 10**9,
    }
