"""The engine for throughput: vLLM, in this process, stepped by us so that weights can change between two tokens."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rl_distill.errors import InputError, RunError
from rl_distill.models.loading import load_settings
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.attempts import check_requests, sampled_trajectory, stop_token_ids
from rl_distill.rollout.engine import Request, Sampling, shards, torch_dtype
from rl_distill.rollout.vllm_ban import PROCESSOR, BanRequests
from rl_distill.rollout.vllm_config import GPU_MEMORY_FRACTION, HOST_TRANSFER, VllmEngineConfig, check_vllm
from rl_distill.rollout.weight_loading import first_names, fitting_weights
from rl_distill.text import end_of_turn_ids
from rl_distill.trajectory import Trajectory

_BUCKET_BYTES = 256 * 2**20  # of weights handed to vLLM's workers in one call
_COLDEST = 0.01  # vLLM raises lower temperatures to this one and says so in its log only


class VllmEngine:
    """Samples with vLLM; see `rollout.engine.Engine`.

    The process should hold nothing else: vLLM binds its memory and takes over torch's threads. Each request has a seed of its
    own, so its tokens are a function of it and of the weights wherever vLLM's kernels are batch invariant: they are on CPUs.

    `before_step` is called before each decode step and may load weights. Running sequences then compute their keys and values
    again with the new ones, so each token is sampled from exactly the version that `policy_versions` gives for it.

    Args:
        folder: the student in Hugging Face format; its tokenizer is not read.
        tokenizer: names the tokens that end a turn, and writes the text.
        name: what trajectories give as their `model`.
        version: the policy version of the weights in `folder`.

    Raises:
        InputError: vLLM is missing or unfit, or cannot host this student; see also `check_vllm`.
    """

    def __init__(self, folder: str | Path, tokenizer: Any, config: VllmEngineConfig, *, name: str, version: int = 0) -> None:
        settings = load_settings(str(folder))
        check_vllm(config, settings)
        self._skeleton = _skeleton(settings, torch_dtype(config.dtype))
        self._tokenizer, self._config, self._name = tokenizer, config, name
        self._end_of_turn = end_of_turn_ids(tokenizer)
        self._bans = BanRequests(tokenizer)
        self._context, self._vocabulary = config.context(settings), settings.get_text_config().vocab_size
        self.version, self.shard_size = version, config.shard_size
        self.before_step: Callable[[], None] | None = None
        self._vllm = _start(folder, config, self._context)
        self._check_names()

    def generate(self, requests: Sequence[Request]) -> list[Trajectory]:
        """One unscored trajectory for each request, in order.

        Raises:
            InputError: a prompt with its longest response exceeds the context, a stop token is not one token, or a temperature is
                above 0 and below what vLLM can sample at.
            ValueError: a prompt is empty or holds ids that the model does not have.
            RunError: the model's logits are not finite.
        """
        check_requests(requests, context=self._context, vocabulary=self._vocabulary)
        stops = {sampling: self._stops(sampling) for sampling in {request.sampling for request in requests}}
        return [made for shard in shards(requests, self.shard_size) for made in self._sample(shard, stops)]

    def load_weights(self, update: WeightUpdate) -> Mapping[str, str]:
        """Take over an update's tensors and its version; returns the digests of what vLLM now computes with.

        Any version is taken, an older one too. Cached keys and values of older weights are gone afterwards.

        Raises:
            ValueError: names, shapes or dtypes differ from the model's, all of them listed; nothing has been loaded then.
        """
        self._transfer(fitting_weights(self._skeleton, update.tensors))
        return self.received(update.version)

    def receive(self, backend: str, call: str, arguments: Mapping[str, Any]) -> None:
        """Pass one call of a weight update on to vLLM's workers; a learner makes it, see `rollout.vllm_transfer`.

        Args:
            backend: the transport, by vLLM's name.
            call: vLLM's name of it, such as "start_weight_update".
        """
        self._vllm.collective_rpc("use_transfer", args=(backend,))
        self._vllm.collective_rpc(call, kwargs=dict(arguments))

    def received(self, version: int) -> Mapping[str, str]:
        """A weight update has come to its end: digests of what vLLM now computes with."""
        if not self._vllm.reset_prefix_cache(reset_running_requests=True):
            raise RunError("vLLM did not give up the keys and values that it had computed with older weights")
        self.version = version
        return self._held_digests()

    def canaries(self, request: Request) -> list[Trajectory]:
        return self.generate([request])

    def close(self) -> None:
        """Frees the model and its memory; a process that has closed its engine may start another."""
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self._bans.close()
        self._vllm.engine_core.shutdown()
        del self._vllm
        cleanup_dist_env_and_memory()

    def _transfer(self, weights: Mapping[str, Tensor]) -> None:
        """vLLM's own protocol for weights, here with tensors that come along with the calls.

        A tied output layer is always sent under its own name too: on a CPU it has a packed copy, which would stay as it was.
        """
        self._vllm.collective_rpc("use_transfer", args=(HOST_TRANSFER,))
        self._vllm.collective_rpc("start_weight_update")
        for bucket in _buckets(weights, first_names(self._skeleton)):
            self._vllm.collective_rpc("update_weights", kwargs={"update_info": {"tensors": bucket}})
        self._vllm.collective_rpc("finish_weight_update")

    def _held_digests(self) -> dict[str, str]:
        """By the learner's names. Where a tied tensor has two copies that differ, the digest is that of the second."""
        (held, *_) = self._vllm.collective_rpc("weight_digests")
        for name, own in first_names(self._skeleton).items():
            if name != own and held.pop(name, held[own]) != held[own]:
                held[own] = "tied copies differ"
        return dict(held)

    def _check_names(self) -> None:
        """What vLLM holds must be what a learner publishes, or updates could not be checked."""
        (shapes, *_) = self._vllm.collective_rpc("weight_shapes")
        names = first_names(self._skeleton)
        held = {names.get(name, name): shape for name, shape in shapes.items()}
        wanted = {name: tuple(parameter.shape) for name, parameter in self._skeleton.named_parameters()}
        wrong = sorted(name for name in held.keys() | wanted.keys() if held.get(name) != wanted.get(name))
        if wrong:
            raise InputError(
                "student.model",
                f"{type(self._skeleton).__name__} is laid out in vLLM so that {len(wrong)} tensors, such as {wrong[0]!r}, "
                "could not be checked after an update",
                "set engine.name to hf",
            )

    def _sample(self, shard: Sequence[Request], stops: Mapping[Sampling, tuple[int, ...]]) -> Iterator[Trajectory]:
        """One shard, from its first step to its last; nothing of it stays in vLLM if it fails."""
        responses = [_Response() for _ in shard]
        try:
            for index, request in enumerate(shard):
                self._vllm.add_request(
                    str(index), {"prompt_token_ids": list(request.token_ids)}, self._parameters(request, stops)
                )
            while self._vllm.has_unfinished_requests():
                if self.before_step is not None:
                    self.before_step()
                for output in self._vllm.step():
                    responses[int(output.request_id)].add(output.outputs[0], self.version)
        except BaseException:
            self._vllm.abort_request([str(index) for index in range(len(shard))])
            raise
        for request, response in zip(shard, responses, strict=True):
            yield response.trajectory(request, self._tokenizer, self._name)

    def _parameters(self, request: Request, stops: Mapping[Sampling, tuple[int, ...]]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = request.sampling
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=request.seed % 2**63,  # what a torch generator takes; -1 would mean none
            stop_token_ids=list(stops[sampling]),
            ignore_eos=True,  # the stops above are all there are
            extra_args=self._bans.arguments(sampling.banned),
            logprobs=0,  # of the sampled token
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    def _stops(self, sampling: Sampling) -> tuple[int, ...]:
        if 0 < sampling.temperature < _COLDEST:
            problem = f"{sampling.temperature} is below {_COLDEST}, to which vLLM would raise it"
            raise InputError("sampling.temperature", problem, "set it to 0 or higher up, or set engine.name to hf")
        return stop_token_ids(self._tokenizer, self._end_of_turn, sampling)


@dataclass(slots=True)
class _Response:
    """What has been sampled for one request so far."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    finish_reason: str | None = None

    def add(self, delta: Any, version: int) -> None:
        """The tokens of one step, sampled from the weights of `version`."""
        self.token_ids += delta.token_ids
        self.logprobs += [entry[token].logprob for token, entry in zip(delta.token_ids, delta.logprobs, strict=True)]
        self.versions += [version] * len(delta.token_ids)
        self.finish_reason = delta.finish_reason or self.finish_reason

    def trajectory(self, request: Request, tokenizer: Any, model: str) -> Trajectory:
        if not all(math.isfinite(value) for value in self.logprobs):
            raise RunError("the policy's logits are not finite while sampling: its weights have diverged or overflow their dtype")
        if self.finish_reason not in ("stop", "length"):
            raise RunError(f"vLLM ended a response to problem {request.problem_id!r} with {self.finish_reason!r}")
        greedy = request.sampling.temperature == 0  # all on one token, where vLLM reports the log-prob at temperature 1
        return sampled_trajectory(
            request,
            token_ids=tuple(self.token_ids),
            logprobs=(0.0,) * len(self.logprobs) if greedy else tuple(self.logprobs),
            versions=tuple(self.versions),
            stopped=self.finish_reason == "stop",
            tokenizer=tokenizer,
            model=model,
        )


def _buckets(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """All weights under all their names, so many at a time."""
    bucket: dict[str, Tensor] = {}
    size = 0
    for name, own in names.items():
        if bucket and size + weights[own].nbytes > _BUCKET_BYTES:
            yield bucket
            bucket, size = {}, 0
        bucket[name] = weights[own]
        size += weights[own].nbytes
    yield bucket


def _skeleton(settings: Any, dtype: torch.dtype) -> Any:
    """The student as transformers would build it, without memory: the names, shapes and ties that a learner publishes."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(settings, dtype=dtype)


def _start(folder: str | Path, config: VllmEngineConfig, context: int) -> Any:
    _prepare_process(config)
    from vllm import EngineArgs, LLMEngine
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    if on_cpu and config.gpu_memory_fraction is not None:
        problem = f"is {config.gpu_memory_fraction}, but vLLM runs on a CPU here"
        raise InputError("engine.gpu_memory_fraction", problem, "leave it out, or set engine.kv_cache_gib")
    cache_gib = config.kv_cache_gib or (1.0 if on_cpu else None)
    arguments = EngineArgs(
        model=str(folder),
        model_impl="vllm",
        skip_tokenizer_init=True,
        generation_config="vllm",  # nothing of what the folder says about sampling and stopping
        dtype=config.dtype,
        max_model_len=context,
        max_num_seqs=config.max_sequences,
        max_num_batched_tokens=max(config.prefill_tokens, context if on_cpu else config.max_sequences),
        enable_chunked_prefill=not on_cpu,  # a part of a prompt draws a number too, which vLLM takes back on GPUs only
        tensor_parallel_size=config.tensor_parallel,
        # Left to itself, vLLM would hand its parts to Ray where it finds itself on a cluster: this process holds their devices.
        distributed_executor_backend="mp" if config.tensor_parallel > 1 else "uni",
        kv_cache_memory_bytes=None if cache_gib is None else int(cache_gib * 2**30),
        gpu_memory_utilization=config.gpu_memory_fraction or GPU_MEMORY_FRACTION,
        enable_prefix_caching=config.prefix_caching,
        enforce_eager=config.enforce_eager,
        logprobs_mode="processed_logprobs",  # after temperature and top_p: of the distribution that was sampled from
        async_scheduling=False,  # a step returns the tokens it sampled, so each is known to belong to a version
        logits_processors=[PROCESSOR],
        worker_extension_cls="rl_distill.rollout.vllm_worker.HeldWeights",
        weight_transfer_config={"backend": HOST_TRANSFER},
        disable_log_stats=True,
        use_tqdm_on_load=False,
    )
    try:
        engine = LLMEngine.from_engine_args(arguments)
        _try_out(engine)
        return engine
    except (AssertionError, ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        remedy = "change the engine's settings, or set engine.name to hf"
        raise InputError("engine", f"vLLM cannot host {str(folder)!r} ({reason})", remedy) from error


def _try_out(engine: Any) -> None:
    """One token: kernels that refuse a head size do so when they first run, and compilation is done with."""
    from vllm import SamplingParams

    engine.add_request("trial", {"prompt_token_ids": [0]}, SamplingParams(max_tokens=1, seed=0, logprobs=0, detokenize=False))
    while engine.has_unfinished_requests():
        engine.step()


def _prepare_process(config: VllmEngineConfig) -> None:
    """Settings that vLLM takes from the environment, for this process and the workers that it starts."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # other processes share the cores
    if config.enforce_eager:
        os.environ["TORCH_COMPILE_DISABLE"] = "1"  # vLLM compiles some functions of its sampler all the same
        torch._dynamo.config.disable = True
