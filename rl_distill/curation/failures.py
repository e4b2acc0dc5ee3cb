"""What can go wrong with a call to a teacher, as types; which of them are tried again, and when."""

import random
from typing import Literal

from rl_distill.config import config, setting

FailureKind = Literal[
    "rate_limit",  # the server said: too many
    "time_out",  # no whole answer within the request's time
    "length",  # the answer was cut off at max_tokens; its text is kept
    "content_filter",  # the server withheld the answer, or a part of it
    "empty",  # an answer without text
    "schema",  # an answer of another form than the one that was asked for
    "transport",  # the connection broke, the server failed (5xx), or what came was no answer
    "permanent",  # asking again cannot help: refused key, unknown model, bad request, another model's answer
]

# Asked again as they are. A row is not blamed for a rate limit: that is between the client and the endpoint.
RETRIED: frozenset[FailureKind] = frozenset({"rate_limit", "time_out", "empty", "schema", "transport"})
PAUSES_ENDPOINT: frozenset[FailureKind] = frozenset({"rate_limit", "time_out", "transport"})
# With an answer on disk that is worth keeping: a repeated command does not ask for it again.
ANSWERED: frozenset[FailureKind] = frozenset({"length", "content_filter"})

STATUS_KINDS: dict[int, FailureKind] = {408: "time_out", 409: "transport", 429: "rate_limit"}
OUT_OF_FUNDS = "insufficient_quota"  # a 429 that waiting does not mend


class TeacherFailure(Exception):
    """A call that failed.

    Args:
        kind: its type.
        message: one line, in the server's words where it had any.
        closes_endpoint: every other call to this endpoint would fail in the same way.
        retry_after: seconds that the server asked to wait.
    """

    def __init__(
        self, kind: FailureKind, message: str, *, closes_endpoint: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind, self.message = kind, " ".join(message.split())[:500]
        self.closes_endpoint, self.retry_after = closes_endpoint, retry_after


@config
class RetryPolicy:
    """How often and how fast failed calls are made again."""

    max_attempts: int = setting(5, about="calls for one row; those that met a rate limit do not count", ge=1)
    first_pause: float = setting(1.0, about="of an endpoint after its first failure; doubles with each in a row", unit="s", gt=0)
    max_pause: float = setting(60.0, about="longest pause of an endpoint, unless its server asks for more", unit="s", gt=0)
    max_pauses: int = setting(10, about="pauses without an answer in between after which an endpoint is given up", ge=1)

    def __post_init__(self) -> None:
        if self.max_pause < self.first_pause:
            raise ValueError("max_pause is below first_pause: raise it, or lower first_pause")

    def pause(self, num_in_row: int, jitter: random.Random) -> float:
        """Seconds to wait after so many failures in a row (1 or more): exponential, and between half and all of that at random,
        so that clients that failed together do not come back together."""
        longest = min(self.max_pause, self.first_pause * 2.0 ** min(num_in_row - 1, 60))
        return longest * jitter.uniform(0.5, 1.0)


def failure_of_status(status: int, message: str, *, code: str | None = None, retry_after: float | None = None) -> TeacherFailure:
    """What an HTTP status of 400 or above means.

    Args:
        code: the server's own word for it, if any.
    """
    if status == 429 and code == OUT_OF_FUNDS:
        return TeacherFailure("permanent", f"HTTP 429: {message}", closes_endpoint=True)
    kind = STATUS_KINDS.get(status) or ("transport" if status >= 500 else "permanent")
    # 400, 413 and 422 are about one request; the other refusals meet every request alike.
    closes = kind == "permanent" and status not in (400, 413, 422)
    return TeacherFailure(kind, f"HTTP {status}: {message}", closes_endpoint=closes, retry_after=retry_after)


def failure_of_finish(finish_reason: str | None, text: str) -> tuple[FailureKind, str] | None:
    """What the end of an answer says about it; None if the answer is whole."""
    if finish_reason == "length":
        return "length", "cut off at max_tokens"
    if finish_reason == "content_filter":
        return "content_filter", "withheld by the server's content filter"
    if not text.strip():
        return "empty", f"no text (finish reason {finish_reason!r})"
    return None
