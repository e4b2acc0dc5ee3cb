"""Reading what a chat-completions server answers, whatever it is: an answer with its label, or a failure by type."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rl_distill.curation.failures import TeacherFailure, failure_of_finish
from rl_distill.curation.teacher import Response, TeacherRequest
from rl_distill.errors import InputError

# In the order of preference; vLLM says `reasoning`, DeepSeek and older vLLM `reasoning_content`.
REASONING_FIELDS = ("reasoning_content", "reasoning")
ENDS = ("stop", "length", "content_filter")
MOST_TOKENS = 10**9  # longer than any context: a count above it is none
_FENCED = re.compile(r"\s*```(?:json|JSON)?\s*\n(?P<inside>.*)```\s*", re.DOTALL)
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def check_schema(schema: Mapping[str, Any]) -> None:
    """
    Raises:
        InputError: it is no JSON schema.
    """
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        raise InputError("schema", f"is no JSON schema ({error.message})", "mend it") from None


def answer_from_body(body: bytes, request: TeacherRequest, *, model: str, max_tokens: int) -> Response:
    """What the body of a successful HTTP answer says.

    An answer that the server worked for and that cannot be used comes back too, labelled, with all of its text.

    Args:
        model: the name that the answer has to give.

    Raises:
        TeacherFailure: there is no answer in it (transport).
    """
    raw = _completion(body)
    choice = raw["choices"][0]
    message = choice["message"]
    logprobs = (choice.pop("logprobs", None) or {}).get("content")
    logprobs = logprobs if isinstance(logprobs, list) else None
    prompt_tokens, completion_tokens, by_server = _token_counts(raw, body, request)
    response = Response(
        row_key=request.row_key,
        problem_id=request.problem_id,
        seed=request.seed,
        text=_text(message.get("content")),
        reasoning=next((_text(message[name]) for name in REASONING_FIELDS if message.get(name)), None),
        finish_reason=choice.get("finish_reason"),
        model=raw.get("model"),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        tokens_counted_by_server=by_server,
        max_tokens=max_tokens,
        logprobs=None if logprobs is None else tuple(logprobs),
        raw=raw,
    )
    failure = _what_is_wrong(response, request, model)
    return response if failure is None else replace(response, failure=failure.kind, detail=failure.message)


def json_answer(text: str) -> Any:
    """The value of an answer to a schema; one block of Markdown (``` or ```json) around all of it is no part of it.

    Raises:
        ValueError: it is no JSON.
    """
    fenced = _FENCED.fullmatch(text)
    try:
        return json.loads(fenced["inside"] if fenced else text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def closes_endpoint(response: Response) -> bool:
    """Whether what is wrong with an answer would be wrong with all that come from there."""
    return response.failure == "permanent"


def _completion(body: bytes) -> dict[str, Any]:
    try:
        raw = _storable(json.loads(body))
    except (ValueError, RecursionError):
        raise TeacherFailure("transport", f"the answer is no JSON: {_start_of(body)}") from None
    try:
        choice = raw["choices"][0]
        fits = isinstance(choice.get("logprobs") or {}, dict) and isinstance(choice["message"].get("content"), str | list | None)
    except (KeyError, IndexError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise TeacherFailure("transport", f"the answer is no chat completion: {_start_of(body)}")
    found: dict[str, Any] = raw
    return found


def _storable(raw: Any) -> Any:
    """JSON that can be written again: servers put in numbers that are none, and halves of characters where they cut one off."""
    try:
        json.dumps(raw, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # a UnicodeEncodeError is one
        return _mended(raw)
    return raw


def _mended(value: Any) -> Any:
    if isinstance(value, dict):
        return {_mended(key): _mended(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mended(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _HALF_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value


def _what_is_wrong(response: Response, request: TeacherRequest, model: str) -> TeacherFailure | None:
    if response.model != model:
        return TeacherFailure(
            "permanent", f"the answer is of model {response.model!r} and not of {model!r} (if that is the same, set answers_as)"
        )
    if request.sampling.logprobs and response.logprobs is None:
        return TeacherFailure("permanent", "the server gives no log-probs; drop sampling.logprobs or take another server")
    if (given := _most_alternatives(response)) is not None and given < request.sampling.top_logprobs:
        wanted = f"{request.sampling.top_logprobs} that sampling.top_logprobs asks for"
        return TeacherFailure("permanent", f"the server gives {given} alternatives for a token instead of the {wanted}: lower it")
    if found := failure_of_finish(response.finish_reason, response.text):
        return TeacherFailure(*found)
    if response.finish_reason not in ENDS:
        return TeacherFailure("schema", f"finish reason {response.finish_reason!r} is none that a text ends with")
    if request.schema is not None and (problem := _misfit(response.text, request.schema)):
        return TeacherFailure("schema", problem)
    return None


def _most_alternatives(response: Response) -> int | None:
    """Of any of its tokens; None where none has log-probs."""
    found = [entry.get("top_logprobs") for entry in response.logprobs or () if isinstance(entry, dict)]
    return max((len(alternatives) if isinstance(alternatives, list) else 0 for alternatives in found), default=None)


def _misfit(text: str, schema: Mapping[str, Any]) -> str | None:
    from jsonschema import Draft202012Validator

    try:
        value = json_answer(text)
    except ValueError:
        return "the text is no JSON, though a schema was asked for"
    error = next(iter(Draft202012Validator(dict(schema)).iter_errors(value)), None)
    return None if error is None else f"the text does not fit the schema at {error.json_path}: {error.message}"


def _token_counts(raw: Mapping[str, Any], body: bytes, request: TeacherRequest) -> tuple[int, int, bool]:
    """Tokens of prompt and answer; where the server counts none, upper bounds, since a limit of money rests on them."""
    usage = raw.get("usage")
    named = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
    counts = [count for count in named if isinstance(count, int) and 0 <= count <= MOST_TOKENS]
    if len(counts) == 2:
        return counts[0], counts[1], True
    return request.max_prompt_tokens, len(body), False


def _text(content: Any) -> str:
    """Content is a text, or a list of parts with texts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") if isinstance(part, dict) else str(part) for part in content)
    return "" if content is None else str(content)


def _start_of(body: bytes) -> str:
    return repr(body[:80].decode("utf-8", errors="replace")) if body else "(nothing)"
