"""What is asked of a teacher, what it answers, and the protocol of whatever answers."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from rl_distill.config import config, setting
from rl_distill.curation.failures import FailureKind
from rl_distill.errors import InputError, RunError
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Message, Problem

TEMPLATE_TOKENS = 64  # of a turn: more than chat templates put around one


@config
class TeacherSampling:
    """How a teacher draws its answer. All of it is sent and all of it is part of the fingerprint."""

    temperature: float | None = setting(1.0, about="softmax temperature; none leaves it to the server", ge=0)
    top_p: float | None = setting(None, about="nucleus mass; none leaves it to the server", gt=0, le=1)
    max_tokens: int = setting(4096, about="longest answer, reasoning included", unit="tokens", ge=1)
    longer_max_tokens: int | None = setting(
        None, about="an answer that was cut off is asked for once more with this limit; none keeps it as it is", unit="tokens"
    )
    stop: tuple[str, ...] = setting((), about="texts that end an answer")
    logprobs: bool = setting(False, about="ask for the log-prob of each sampled token")
    top_logprobs: int = setting(0, about="alternatives per token with their log-probs; needs logprobs", ge=0)
    extra: Mapping[str, Any] = setting(
        {}, about="further keys of the request's body, sent as they are (top_k, chat_template_kwargs, reasoning_effort ...)"
    )

    def __post_init__(self) -> None:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs has no effect without logprobs: set logprobs=true, or drop it")
        if self.longer_max_tokens is not None and self.longer_max_tokens <= self.max_tokens:
            raise ValueError("longer_max_tokens is not above max_tokens: raise it, or drop it")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherRequest:
    """One sample of one question.

    row_key   names the row in the store, whatever the problem's id: hash of the question, then the sample's index
    messages  the conversation, without the system prompt
    sampling  of this row, its overrides included
    schema    JSON schema that the answer's text has to fit, if any
    """

    row_key: str
    problem_id: str
    messages: tuple[Message, ...]
    system_prompt: str | None = None
    sampling: TeacherSampling = field(default_factory=TeacherSampling)
    schema: Mapping[str, Any] | None = None
    seed: int

    @property
    def conversation(self) -> tuple[Message, ...]:
        """All turns, the system's first if there is one."""
        return self.messages if self.system_prompt is None else (Message("system", self.system_prompt), *self.messages)

    @property
    def max_prompt_tokens(self) -> int:
        """Not fewer than the prompt has in any tokenizer with tokens of a byte or more, the template's own words included."""
        turns = self.conversation
        return sum(len(turn.content.encode()) + TEMPLATE_TOKENS for turn in turns) + TEMPLATE_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call for a row.

    failure          None if it was answered well
    message          one line on the failure ("" without one)
    seconds          that it took, waiting for its turn left out
    closed_endpoint  the failure is one of the endpoint, which is asked no more; the row may be asked elsewhere
    """

    failure: FailureKind | None
    message: str
    seconds: float
    endpoint: str
    closed_endpoint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What became of a row: the last call's answer, or its failure. A failed row is a row with a label.

    text, reasoning    as the server gave them; of a cut-off answer too
    finish_reason      the server's own word
    model              what the server said it is
    prompt_tokens      and `completion_tokens`: of this answer; upper bounds where `tokens_counted_by_server` is False
    max_tokens         that this answer was allowed
    logprobs           one mapping a token, in the words of OpenAI's API: token, logprob, bytes, top_logprobs
    seconds, price     of this answer; the price in the currency of the prices given
    failure, detail    label and one line on it; None and "" for a good answer
    attempts           all calls for this row, this answer's as the last
    raw                the server's whole answer but for its log-probs, which stand in `logprobs`
    """

    row_key: str
    problem_id: str
    seed: int
    text: str = ""
    reasoning: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    tokens_counted_by_server: bool = True
    max_tokens: int
    logprobs: tuple[Mapping[str, Any], ...] | None = None
    seconds: float = 0.0
    price: float = 0.0
    failure: FailureKind | None = None
    detail: str = ""
    attempts: tuple[Attempt, ...] = ()
    raw: Mapping[str, Any] | None = None

    @property
    def was_paid(self) -> bool:
        """Whether the server worked for it, whatever came of that."""
        return self.raw is not None


class NotAsked(Exception):
    """The teacher was told to send nothing more before this request had its turn."""


class TeacherGone(RunError):
    """No endpoint is left that could answer."""


class Teacher(Protocol):
    """
    shard_size   requests that are answered together; 1 unless layout is part of the answer, as it is in an engine
    concurrency  shards that may be under way at a time
    """

    shard_size: int
    concurrency: int

    def identity(self) -> Mapping[str, Any]:
        """What answers depend on beside the request: model, revision, class of endpoint. Part of the fingerprint."""
        ...

    def check(self, request: TeacherRequest) -> None:
        """
        Raises:
            InputError: the teacher cannot do what the request asks for.
        """
        ...

    async def ask(self, shard: Sequence[TeacherRequest]) -> list[Response]:
        """One call for each request, in order. What goes wrong with a call is told in its response.

        Raises:
            NotAsked: `drain` was called before the shard had its turn.
            TeacherGone: nobody is left to ask.
        """
        ...

    def drain(self) -> None:
        """Send nothing more; calls that are under way go on."""
        ...

    async def close(self) -> None:
        """Give back connections; nothing is asked afterwards."""
        ...


def row_key(question: str, sample_index: int) -> str:
    """
    Example:
        >>> row_key("What is 2 + 2?", 3)
        '38d46ad3618826cf-3'
    """
    return f"{hashlib.sha256(question.encode()).hexdigest()[:16]}-{sample_index}"


def requests_for(
    problems: Sequence[Problem],
    conversations: Sequence[tuple[Message, ...]],
    *,
    num_samples: int,
    sampling: TeacherSampling,
    seed: int,
    system_prompt: str | None = None,
    schema: Mapping[str, Any] | None = None,
    overrides: Mapping[str, TeacherSampling] | None = None,
) -> list[TeacherRequest]:
    """`num_samples` requests for each problem, problem by problem. A request is a function of its question and its index alone.

    Args:
        conversations: how each problem is put to the teacher, the system prompt left out.
        overrides: by problem id: sampling of that problem in place of `sampling`.

    Raises:
        InputError: two problems ask the same question, so that their rows could not be told apart.
    """
    asked: dict[str, str] = {}
    requests = []
    for problem, messages in zip(problems, conversations, strict=True):
        for index in range(num_samples):
            key = row_key(problem.prompt, index)
            if asked.setdefault(key, problem.id) != problem.id:
                raise InputError(
                    "problems", f"{asked[key]!r} and {problem.id!r} ask the same question", "drop one of them, as `dedup` does"
                )
            requests.append(
                TeacherRequest(
                    row_key=key,
                    problem_id=problem.id,
                    messages=messages,
                    system_prompt=system_prompt,
                    sampling=(overrides or {}).get(problem.id, sampling),
                    schema=schema,
                    seed=addressed_seed(seed, "teacher", key),
                )
            )
    return requests


def response_to_dict(response: Response) -> dict[str, Any]:
    """Plain data that `response_from_dict` reads back to an equal response."""
    return asdict(response)


def response_from_dict(plain: Mapping[str, Any]) -> Response:
    """
    Raises:
        TypeError, KeyError: it is not what `response_to_dict` makes.
    """
    values = dict(plain)
    values["attempts"] = tuple(Attempt(**attempt) for attempt in values["attempts"])
    if values["logprobs"] is not None:
        values["logprobs"] = tuple(values["logprobs"])
    return Response(**values)
