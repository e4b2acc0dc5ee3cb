"""One address that answers: its limits, its own back-off, and whether it is still worth asking."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from rl_distill.config import config, setting
from rl_distill.curation.failures import PAUSES_ENDPOINT, RetryPolicy, TeacherFailure
from rl_distill.curation.rate_bucket import RateBucket
from rl_distill.curation.teacher import NotAsked, TeacherGone

Clock = Callable[[], float]
FIRST_ESTIMATE = 1024  # tokens of an answer, before any has come


@config
class EndpointConfig:
    """One address of an OpenAI-compatible server, with the limits that its owner sets."""

    base_url: str = setting(about="address up to and with /v1")
    api_key_env: str | None = setting(
        None,
        about="NAME of the environment variable that holds the key; none for a server without keys",
        pattern=r"^[A-Za-z_]\w*$",
    )
    requests_per_minute: float | None = setting(None, about="none: no limit", unit="1/min", gt=0)
    tokens_per_minute: float | None = setting(None, about="prompt and answer together; none: no limit", unit="tokens/min", gt=0)
    concurrency: int = setting(32, about="requests under way at a time", ge=1)


class Endpoint:
    """State of one endpoint. Times are of a monotonic clock: a clock that is set moves nothing.

    Args:
        label: how attempts and messages name it.
    """

    def __init__(self, config: EndpointConfig, retry: RetryPolicy, *, label: str, clock: Clock = time.monotonic) -> None:
        self.config, self.label = config, label
        self.closed: str | None = None  # why it is not asked any more
        self._retry, self._clock = retry, clock
        self._jitter = random.Random()  # not of the run's seed: clients that share one must not come back together
        self._requests = RateBucket(config.requests_per_minute, clock)
        self._tokens = RateBucket(config.tokens_per_minute, clock)
        self._under_way = 0
        self._failures_in_row, self._paused_at, self._not_before = 0, float("-inf"), float("-inf")
        self._mean_answer = float(FIRST_ESTIMATE)

    def wait(self) -> float:
        """Seconds until it could take a request; infinite while it has as many as it may."""
        if self._under_way >= self.config.concurrency:
            return float("inf")
        return max(0.0, self._not_before - self._clock(), self._requests.wait(), self._tokens.wait())

    def begin(self, prompt_tokens: int) -> "Turn":
        """Take a request; its tokens are estimated until `Turn.end` says what they were."""
        self._under_way += 1
        self._requests.take(1)
        estimate = prompt_tokens + self._mean_answer
        self._tokens.take(estimate)
        return Turn(self, began=self._clock(), estimate=estimate)

    def ended(self, turn: "Turn", tokens: int) -> None:
        self._under_way -= 1
        self._tokens.take(tokens - turn.estimate)

    def answered(self, completion_tokens: int) -> None:
        """It works: failures before this count no more."""
        self._failures_in_row = 0
        self._mean_answer += (completion_tokens - self._mean_answer) / 50

    def failed(self, failure: TeacherFailure, began: float) -> None:
        """Pause or give up, as the failure asks for. Calls that were sent before the last pause tell nothing new."""
        if failure.closes_endpoint:
            self.closed = failure.message
        elif failure.kind in PAUSES_ENDPOINT and began >= self._paused_at:
            self._failures_in_row += 1
            self._paused_at = self._clock()
            pause = self._retry.pause(self._failures_in_row, self._jitter)
            self._not_before = self._paused_at + max(pause, failure.retry_after or 0.0)
            if self._failures_in_row > self._retry.max_pauses:
                self.closed = f"no answer after {self._retry.max_pauses} pauses in a row; the last failure: {failure.message}"


class Turn:
    """A request that is under way at an endpoint."""

    def __init__(self, endpoint: Endpoint, *, began: float, estimate: float) -> None:
        self.endpoint, self.began, self.estimate = endpoint, began, estimate

    def end(self, tokens: int) -> None:
        """
        Args:
            tokens: of prompt and answer as the server counted them; 0 if the call failed, so that a burst of errors throttles
                nothing.
        """
        self.endpoint.ended(self, tokens)


class Admission:
    """Hands each request to the endpoint that can take it first, in the order of asking."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._door = asyncio.Lock()  # one waits for an endpoint, the others wait in a line
        self._changed = asyncio.Event()
        self._draining = False

    async def turn(self, prompt_tokens: int) -> Turn:
        """Wait until an endpoint may be asked.

        Raises:
            NotAsked: `drain` was called.
            TeacherGone: all endpoints are closed.
        """
        async with self._door:
            while True:
                if self._draining:
                    raise NotAsked
                waits = {endpoint: endpoint.wait() for endpoint in self._open()}
                soonest = min(waits, key=waits.__getitem__)
                if waits[soonest] <= 0:
                    return soonest.begin(prompt_tokens)
                await self._wait_for_change(waits[soonest])

    def changed(self) -> None:
        """An endpoint's state is another than it was."""
        self._changed.set()

    def drain(self) -> None:
        self._draining = True
        self._changed.set()

    def _open(self) -> list[Endpoint]:
        found = [endpoint for endpoint in self.endpoints if endpoint.closed is None]
        if not found:
            reasons = "; ".join(f"{endpoint.label}: {endpoint.closed}" for endpoint in self.endpoints)
            raise TeacherGone(f"no endpoint of the teacher can be asked any more ({reasons})")
        return found

    async def _wait_for_change(self, seconds: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(None if seconds == float("inf") else seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
