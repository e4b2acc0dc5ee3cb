"""An in-process engine (transformers or vLLM) as a teacher."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rl_distill.curation.failures import failure_of_finish
from rl_distill.curation.teacher import Attempt, NotAsked, Response, TeacherRequest, TeacherSampling
from rl_distill.errors import InputError
from rl_distill.rollout.engine import Engine, Request, Sampling, generate_checked
from rl_distill.text import encode_prompt
from rl_distill.trajectory import Trajectory


class EngineTeacher:
    """See `curation.teacher.Teacher`. The engine samples whole shards, one at a time, in a thread of its own.

    Its failure is the run's: an engine in this process has no other to take its place.

    Args:
        engine: holds the teacher's weights.
        tokenizer: renders the conversations.
        model: what the answers name as their model.
        revision: which weights these are, such as a digest; part of the fingerprint.
        engine_class: `hf` or `vllm`; part of the fingerprint, since their kernels round differently.
    """

    concurrency = 1

    def __init__(self, engine: Engine, tokenizer: Any, *, model: str, revision: str, engine_class: str) -> None:
        self._engine, self._tokenizer = engine, tokenizer
        self._model, self._revision, self._engine_class = model, revision, engine_class
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="teacher")
        self._draining = False
        self.shard_size = engine.shard_size

    def identity(self) -> Mapping[str, Any]:
        return {
            "model": self._model,
            "revision": self._revision,
            "endpoint_class": f"engine.{self._engine_class}",
            "shard_size": self.shard_size,
        }

    def check(self, request: TeacherRequest) -> None:
        sampling = request.sampling
        if request.schema is not None:
            raise InputError("schema", "an engine in this process cannot be held to a schema", "use a server, or drop it")
        if sampling.top_logprobs:
            raise InputError(
                "sampling.top_logprobs", "an engine gives the sampled token's log-prob only", "set it to 0, or use a server"
            )
        if sampling.extra:
            raise InputError(
                "sampling.extra", f"an engine does not know {sorted(sampling.extra)[0]!r}", "drop it, or use a server"
            )
        if sampling.temperature is None:
            raise InputError("sampling.temperature", "an engine has no temperature of its own", "give one")

    async def ask(self, shard: Sequence[TeacherRequest]) -> list[Response]:
        if self._draining:
            raise NotAsked
        began = time.monotonic()
        requests = [self._engine_request(request) for request in shard]
        attempts = await asyncio.get_running_loop().run_in_executor(self._thread, generate_checked, self._engine, requests)
        seconds = (time.monotonic() - began) / len(shard)
        return [self._response(asked, made, seconds) for asked, made in zip(shard, attempts, strict=True)]

    def drain(self) -> None:
        self._draining = True

    async def close(self) -> None:
        self._thread.shutdown(wait=True)
        self._engine.close()

    def _engine_request(self, request: TeacherRequest) -> Request:
        return Request(
            problem_id=request.problem_id,
            messages=request.conversation,
            token_ids=encode_prompt(self._tokenizer, request.conversation),
            sampling=_engine_sampling(request.sampling),
            seed=request.seed,
        )

    def _response(self, asked: TeacherRequest, made: Trajectory, seconds: float) -> Response:
        text = made.messages[-1].content
        failure, detail = failure_of_finish(made.finish_reason, text) or (None, "")
        sampled = [index for index, is_sampled in enumerate(made.sampled) if is_sampled]
        return Response(
            row_key=asked.row_key,
            problem_id=asked.problem_id,
            seed=asked.seed,
            text=text,
            finish_reason=made.finish_reason,
            model=made.model,
            prompt_tokens=len(made.token_ids) - len(sampled),
            completion_tokens=len(sampled),
            max_tokens=asked.sampling.max_tokens,
            logprobs=self._logprobs(made, sampled) if asked.sampling.logprobs else None,
            seconds=seconds,
            failure=failure,
            detail=detail,
            attempts=(Attempt(failure=failure, message=detail, seconds=seconds, endpoint=self._engine_class),),
            raw={"token_ids": list(made.token_ids), "num_prompt_tokens": len(made.token_ids) - len(sampled)},
        )

    def _logprobs(self, made: Trajectory, sampled: Sequence[int]) -> tuple[Mapping[str, Any], ...]:
        assert made.behavior_logprobs is not None, "an engine says how likely its tokens were"
        tokens = self._tokenizer.convert_ids_to_tokens([made.token_ids[index] for index in sampled])
        return tuple(
            {"token": token, "token_id": made.token_ids[index], "logprob": made.behavior_logprobs[index]}
            for token, index in zip(tokens, sampled, strict=True)
        )


def _engine_sampling(sampling: TeacherSampling) -> Sampling:
    assert sampling.temperature is not None, "checked"
    return Sampling(
        temperature=sampling.temperature,
        top_p=1.0 if sampling.top_p is None else sampling.top_p,
        max_tokens=sampling.max_tokens,
        stop_tokens=sampling.stop,
    )
