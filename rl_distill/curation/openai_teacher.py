"""Any OpenAI-compatible server as a teacher: one model behind one or several endpoints, each with its own limits."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from rl_distill.config import config, setting
from rl_distill.curation.chat_answer import answer_from_body, check_schema, closes_endpoint
from rl_distill.curation.endpoint import Admission, Endpoint, EndpointConfig, Turn
from rl_distill.curation.failures import RetryPolicy, TeacherFailure, failure_of_status
from rl_distill.curation.teacher import Attempt, Response, TeacherRequest
from rl_distill.errors import InputError

LONGEST_RETRY_AFTER = 600.0  # seconds; a server that asks for more is asked again nevertheless
SEED_MASK = 2**31 - 1  # what servers that take 32 bits can read
OWN_KEYS = {
    "model", "messages", "seed", "n", "stream", "max_tokens", "temperature", "top_p", "stop", "logprobs", "top_logprobs",
    "response_format",
}  # fmt: skip


@config
class OpenAiTeacherConfig:
    """A model that OpenAI-compatible servers offer."""

    name: Literal["openai"] = "openai"
    model: str = setting(about="as the servers call it")
    revision: str = setting("", about="which weights they serve, where the name does not say it; part of the fingerprint")
    endpoint_class: str = setting(
        "openai_compatible",
        about="what kind of server answers (vllm, deepseek, azure ...); part of the fingerprint, which addresses are not",
    )
    answers_as: str | None = setting(None, about="the name that answers give, such as a dated one; none: the model's")
    endpoints: tuple[EndpointConfig, ...] = setting(about="addresses that serve it", min_length=1)
    request_timeout: float = setting(1800.0, about="for one call; long reasoning takes tens of minutes", unit="s", gt=0)


class OpenAiTeacher:
    """See `curation.teacher.Teacher`. A key is read from the environment when the teacher starts and is written nowhere.

    Raises:
        InputError: an address is none, or a key's variable is not set.
    """

    def __init__(self, config: OpenAiTeacherConfig, retry: RetryPolicy) -> None:
        from openai import AsyncOpenAI  # takes a second

        self._config = config
        self._clients: dict[Endpoint, AsyncOpenAI] = {}
        self._keys: list[str] = []
        for index, settings in enumerate(config.endpoints):
            field = f"teacher.endpoints[{index}]"
            endpoint = Endpoint(settings, retry, label=_label(settings, field))
            self._clients[endpoint] = AsyncOpenAI(
                base_url=settings.base_url, api_key=self._key(settings, field), max_retries=0, timeout=config.request_timeout
            )
        self._admission = Admission(list(self._clients))
        self.shard_size, self.concurrency = 1, sum(settings.concurrency for settings in config.endpoints)

    def identity(self) -> Mapping[str, Any]:
        return {
            "model": self._config.model,
            "revision": self._config.revision,
            "endpoint_class": self._config.endpoint_class,
            "answers_as": self._config.answers_as or self._config.model,
        }

    def check(self, request: TeacherRequest) -> None:
        if taken := sorted(OWN_KEYS & set(request.sampling.extra)):
            raise InputError("sampling.extra", f"holds {taken[0]!r}, which has a key of its own or is not free", "set it there")
        if request.schema is not None:
            check_schema(request.schema)

    async def ask(self, shard: Sequence[TeacherRequest]) -> list[Response]:
        (request,) = shard
        turn = await self._admission.turn(request.max_prompt_tokens // 4)
        endpoint, response = turn.endpoint, None
        try:
            response = await self._call(turn, request)
            endpoint.answered(response.completion_tokens)
            if closes_endpoint(response):
                endpoint.closed = response.detail
        except TeacherFailure as failure:
            endpoint.failed(failure, turn.began)
            response = _failed(request, failure)
        finally:  # cancelled too
            turn.end(response.prompt_tokens + response.completion_tokens if response else 0)
            self._admission.changed()
        attempt = Attempt(
            failure=response.failure,
            message=response.detail,
            seconds=time.monotonic() - turn.began,
            endpoint=endpoint.label,
            closed_endpoint=response.failure == "permanent" and endpoint.closed is not None,
        )
        return [replace(response, seconds=attempt.seconds, attempts=(attempt,))]

    def drain(self) -> None:
        self._admission.drain()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    async def _call(self, turn: Turn, request: TeacherRequest) -> Response:
        """
        Raises:
            TeacherFailure: no answer came.
        """
        import openai

        create = self._clients[turn.endpoint].chat.completions.with_raw_response.create
        limit = self._config.request_timeout
        try:
            async with asyncio.timeout(limit):  # the client's own limit is one for each piece that arrives
                answer = await create(**arguments_of(self._config.model, request))
            body = answer.http_response.content
        except (openai.APITimeoutError, TimeoutError):
            raise TeacherFailure("time_out", f"no answer within {limit:g} s") from None
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__
            raise TeacherFailure("transport", f"{type(cause or error).__name__}: {cause or error}") from None
        except openai.OpenAIError as error:
            raise TeacherFailure("transport", f"{type(error).__name__}: {self._without_keys(str(error))}") from None
        expected = self._config.answers_as or self._config.model
        return answer_from_body(body, request, model=expected, max_tokens=request.sampling.max_tokens)

    def _refusal(self, error: Any) -> TeacherFailure:
        body = error.body if isinstance(error.body, dict) else {}
        message = body.get("message") or error.response.text or "no reason given"
        code = body.get("code") or body.get("type")
        return failure_of_status(
            error.status_code, self._without_keys(str(message)), code=str(code), retry_after=_retry_after(error.response.headers)
        )

    def _key(self, settings: EndpointConfig, field: str) -> str:
        if settings.api_key_env is None:
            return "none"  # the client wants one, and must not take that of another service from the environment
        key = os.environ.get(settings.api_key_env, "")
        if not key:
            raise InputError(
                f"{field}.api_key_env", f"names {settings.api_key_env!r}, which is not set", f"export {settings.api_key_env}=..."
            )
        self._keys.append(key)
        return key

    def _without_keys(self, text: str) -> str:
        """Servers that quote the key they refuse must not get it into a store."""
        for key in self._keys:
            text = text.replace(key, "[key]")
        return text


def arguments_of(model: str, request: TeacherRequest) -> dict[str, Any]:
    sampling = request.sampling
    wanted: dict[str, Any] = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.conversation],
        "max_tokens": sampling.max_tokens,
        "seed": request.seed & SEED_MASK,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(sampling.stop) or None,
        "logprobs": sampling.logprobs or None,
        "top_logprobs": sampling.top_logprobs or None,
        "extra_body": dict(sampling.extra) or None,
    }
    if request.schema is not None:
        wanted["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": dict(request.schema), "strict": True},
        }
    return {key: value for key, value in wanted.items() if value is not None}


def _failed(request: TeacherRequest, failure: TeacherFailure) -> Response:
    return Response(
        row_key=request.row_key,
        problem_id=request.problem_id,
        seed=request.seed,
        max_tokens=request.sampling.max_tokens,
        failure=failure.kind,
        detail=failure.message,
    )


def _label(settings: EndpointConfig, field: str) -> str:
    """The address without what might be secret in it."""
    try:
        parts = urlsplit(settings.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise InputError(
            f"{field}.base_url", f"{settings.base_url!r} is no address", "give one such as http://localhost:8000/v1"
        ) from None
    return f"{parts.hostname}{port}{parts.path}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; a date, which depends on two clocks, counts as nothing said."""
    try:
        seconds = float(headers.get("retry-after") or "")
    except ValueError:
        return None
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None
