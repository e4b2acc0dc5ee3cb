"""What is known of each row, what there is still to ask for it, and what to do with an answer."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rl_distill.curation.failures import RETRIED
from rl_distill.curation.fingerprint import row_fingerprint
from rl_distill.curation.store import ResponseStore, has_answer
from rl_distill.curation.teacher import Attempt, Response, TeacherRequest
from rl_distill.seeding import addressed_seed

WORKED_FOR_NOTHING = ("empty", "schema")  # the same seed might come to the same again


class RowLedger:
    """The rows of one `generate`, by their position in the requests.

    Args:
        max_attempts: calls for a row; those that met a rate limit, or closed their endpoint, do not count.
    """

    def __init__(self, requests: Sequence[TeacherRequest], store: ResponseStore, max_attempts: int) -> None:
        self.rows = tuple(row_fingerprint(request) for request in requests)
        self._requests, self._store, self._max_attempts = requests, store, max_attempts
        self._history: dict[int, tuple[Attempt, ...]] = {}  # of rows that are in work
        self._num_counted: Counter[int] = Counter()  # attempts of this process

    def open_request(self, index: int) -> TeacherRequest | None:
        """What there is to ask for a row, given what is stored; None if it has its answer."""
        request, known = self._requests[index], self._store.head(self.rows[index])
        if known is None or not known.has_answer:
            return self._with_another_seed(index, request)
        longer = request.sampling.longer_max_tokens
        if known.failure == "length" and longer is not None and known.max_tokens < longer:
            return replace(request, sampling=replace(request.sampling, max_tokens=longer, longer_max_tokens=None))
        return None

    def request(self, index: int) -> TeacherRequest:
        """What a row is asked for in its shard, answered or not."""
        return self.open_request(index) or self._requests[index]

    def keep(self, index: int, response: Response) -> bool:
        """Put on disk what came for a row, if it was worked for or is its last; whether to ask again."""
        if self.open_request(index) is None:
            return False  # known already; it was asked for again because its shard was
        history = self._history_of(index) + response.attempts
        response = replace(response, attempts=history)
        closed_endpoint = history[-1].closed_endpoint
        self._num_counted[index] += response.failure != "rate_limit" and not closed_endpoint
        may_go_on = self._num_counted[index] < self._max_attempts
        again = closed_endpoint or (response.failure in RETRIED and may_go_on)
        if response.was_paid or closed_endpoint or not again:
            self._store.add(self.rows[index], response)
        self._history[index] = history
        again = again or (has_answer(response) and self.open_request(index) is not None)
        if not again:
            del self._history[index], self._num_counted[index]
        return again

    def counts(self) -> dict[str, int]:
        """Rows by label: "" for good answers, "missing" for those without a line."""
        heads = (self._store.head(row) for row in self.rows)
        return dict(Counter("missing" if head is None else head.failure or "" for head in heads))

    @property
    def num_answered(self) -> int:
        heads = (self._store.head(row) for row in self.rows)
        return sum(head is not None and head.has_answer for head in heads)

    def num_repeated(self) -> int:
        """Rows whose answer is word for word that of an earlier sample of the same question."""
        seen: set[tuple[str, bytes]] = set()
        repeated = 0
        for request, row in zip(self._requests, self.rows, strict=True):
            head = self._store.head(row)
            if head is not None and head.has_answer:
                answer = (request.row_key.rpartition("-")[0], head.digest)
                repeated += answer in seen
                seen.add(answer)
        return repeated

    def endpoints(self) -> list[str]:
        """Where the answers are from."""
        heads = [self._store.head(row) for row in self.rows]
        return sorted({head.endpoint for head in heads if head is not None and head.has_answer})

    def first_failure(self) -> Response | None:
        """The first row without an answer that has a label."""
        for row in self.rows:
            head = self._store.head(row)
            if head is not None and not head.has_answer:
                return self._store.get(row)
        return None

    def _history_of(self, index: int) -> tuple[Attempt, ...]:
        if index not in self._history:
            stored = self._store.get(self.rows[index])
            self._history[index] = stored.attempts if stored is not None else ()
        return self._history[index]

    def _with_another_seed(self, index: int, request: TeacherRequest) -> TeacherRequest:
        fruitless = sum(attempt.failure in WORKED_FOR_NOTHING for attempt in self._history_of(index))
        return replace(request, seed=addressed_seed(request.seed, fruitless)) if fruitless else request
