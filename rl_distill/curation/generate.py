"""Asking a teacher for all rows, once each, whatever happens in between.

    requests ── shards ──► workers, as many as the teacher takes at once ── reserve budget ──► Teacher.ask
                              ▲  ▲                                                               │
               stored rows are   └──── again: a failure that may pass, or a larger limit ◄── RowLedger.keep ──► store
               skipped

A worker takes its next shard when it is done with one, so that no queue grows. Every answer that was worked for is on disk before
anything else happens to its row; a repeated call of `generate` begins from there.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from rl_distill.config import config, setting
from rl_distill.curation.budget import Budget, BudgetGuard, Prices, Spending, describe
from rl_distill.curation.failures import RetryPolicy
from rl_distill.curation.row_ledger import RowLedger
from rl_distill.curation.stopping import listening
from rl_distill.curation.store import ResponseStore, has_answer
from rl_distill.curation.teacher import NotAsked, Response, Teacher, TeacherGone, TeacherRequest
from rl_distill.errors import InputError, RunError

Note = Callable[[str], None]
PROJECTED_AFTER = 50  # rows, or a tenth of them if that is less
PROGRESS_SECONDS = 30.0  # from one line on the progress to the next


@config
class Generation:
    """How rows are asked for."""

    retry: RetryPolicy = setting(RetryPolicy(), about="how failed calls are made again")
    prices: Prices = setting(Prices(), about="what the teacher costs")
    budget: Budget = setting(Budget(), about="hard limits")
    min_success_rate: float = setting(
        0.95, about="share of rows with an answer, truncated ones included, below which the run fails", ge=0, le=1
    )


class Unfinished(RunError):
    """Generation ended before all rows were asked for, or with too few answers; what came is in the store."""


@dataclass(frozen=True, slots=True)
class Generated:
    """All rows, in the order of the requests.

    counts        rows by label; "" for good answers
    num_repeated  rows whose answer is that of an earlier sample of the same question, word for word
    spent         in the store's whole life
    """

    store: ResponseStore
    rows: tuple[str, ...]
    counts: Mapping[str, int]
    num_repeated: int
    spent: Spending

    def responses(self) -> Iterator[Response]:
        """One for each request, read from disk one by one while the store is open."""
        for row in self.rows:
            response = self.store.get(row)
            assert response is not None, "every row has a line"
            yield response


def generate(
    teacher: Teacher, requests: Sequence[TeacherRequest], store: ResponseStore, settings: Generation, note: Note = print
) -> Generated:
    """`generate_async` for callers without an event loop."""
    return asyncio.run(generate_async(teacher, requests, store, settings, note))


async def generate_async(
    teacher: Teacher, requests: Sequence[TeacherRequest], store: ResponseStore, settings: Generation, note: Note = print
) -> Generated:
    """Ask for every row that the store has no answer for. The teacher is closed at the end.

    SIGINT and SIGTERM: nothing more is sent, what is under way is waited for and saved; a second signal ends it at once.

    Args:
        note: is told, a line at a time, what a person should know.

    Raises:
        InputError: there are no rows, or the teacher cannot do what one of them asks for.
        Unfinished: a signal, a limit, no endpoint left, or too few answers.
        RunError: the store is full, or an engine failed.
    """
    if not requests:
        raise InputError("problems", "there is nothing to ask: the pool is empty", "check what the stages before left over")
    try:
        for request in requests:
            teacher.check(request)
        driver = _Driver(teacher, requests, store, settings, note)
        await driver.run()
    finally:
        await teacher.close()
    return driver.result()


class _Driver:
    def __init__(
        self, teacher: Teacher, requests: Sequence[TeacherRequest], store: ResponseStore, settings: Generation, note: Note
    ) -> None:
        self._teacher, self._store, self._settings, self._note = teacher, store, settings, note
        self._ledger = RowLedger(requests, store, settings.retry.max_attempts)
        self._guard = BudgetGuard(settings.budget, settings.prices, spent=store.spent)
        self._num_rows, self._num_stored = len(requests), self._ledger.num_answered
        self._num_ended = self._num_failed = self._num_under_way = 0
        self._began = self._last_line = time.monotonic()
        self._stopped: str | None = None
        self._room = asyncio.Condition()  # somebody gave budget back, or all is over
        self._shards = self._open_shards()

    async def run(self) -> None:
        if self._num_stored:
            places = ", ".join(self._ledger.endpoints())
            self._note(f"{self._num_stored} of {self._num_rows} rows are stored already, answered by {places}")
        workers = [asyncio.create_task(self._work()) for _ in range(self._teacher.concurrency)]

        def give_up() -> None:
            for worker in workers:
                worker.cancel()

        with listening(self._stop_by_signal, give_up), self._time_limit():
            found = await asyncio.gather(*workers, return_exceptions=True)
        if failed := [one for one in found if isinstance(one, Exception)]:
            raise failed[0]

    def result(self) -> Generated:
        """
        Raises:
            Unfinished: not every row was asked for, or too few have an answer.
        """
        ledger, answered = self._ledger, self._ledger.num_answered
        counts = ledger.counts()
        labels = ", ".join(f"{count} {label or 'good'}" for label, count in sorted(counts.items()))
        total = f"{answered} of {self._num_rows} rows have an answer ({labels})"
        if self._stopped is None and answered < self._settings.min_success_rate * self._num_rows:
            self._stopped = f"too few for min_success_rate {self._settings.min_success_rate:g}"
        if self._stopped is not None:
            first = ledger.first_failure()
            example = f"; the first failed row: {first.failure}, {first.detail}" if first else ""
            raise Unfinished(f"{self._stopped}; {total}{example}; all is kept in {self._store.path}, repeat the command to go on")
        self._note(f"{total}; {describe(self._guard.spent, self._settings.prices)}")
        repeated = ledger.num_repeated()
        if repeated:
            self._note(
                f"{repeated} answers have the words of another sample of their question: low temperature, or a server's cache"
            )
        return Generated(self._store, ledger.rows, counts, repeated, self._guard.spent)

    @contextmanager
    def _time_limit(self) -> Iterator[None]:
        """By the loop's clock, which is monotonic: setting the machine's clock moves nothing."""
        limit = self._settings.budget.max_seconds
        if limit is None:
            yield
            return
        timer = asyncio.get_running_loop().call_later(limit, self._stop, f"budget.max_seconds {limit:g} is over")
        try:
            yield
        finally:
            timer.cancel()

    def _open_shards(self) -> Iterator[range]:
        """Shards are cut from all rows, answered or not, so that a row has the same neighbours whoever was killed before."""
        size = self._teacher.shard_size
        for start in range(0, self._num_rows, size):
            shard = range(start, min(start + size, self._num_rows))
            if any(self._ledger.open_request(index) is not None for index in shard):
                yield shard

    async def _work(self) -> None:
        for shard in self._shards:
            try:
                while self._stopped is None and await self._ask(shard):
                    pass
            except NotAsked:
                return
            except TeacherGone as gone:
                await self._stop_and_wake(str(gone))
            except Exception:
                await self._stop_and_wake("failed")
                raise
            if self._stopped is not None:
                return

    async def _ask(self, shard: range) -> bool:
        """One call for each row of a shard; whether there is a row to ask again."""
        requests = [self._ledger.request(index) for index in shard]
        cost = self._guard.at_most(requests)
        await self._reserve(cost)
        self._num_under_way += 1
        try:
            responses = await self._teacher.ask(requests)
        finally:
            self._num_under_way -= 1
            self._guard.release(cost)
            async with self._room:
                self._room.notify_all()
        return any([self._keep(index, response) for index, response in zip(shard, responses, strict=True)])

    def _keep(self, index: int, response: Response) -> bool:
        response = self._guard.count(response)
        again = self._ledger.keep(index, response)
        if not again:
            self._num_ended += 1
            self._num_failed += not has_answer(response)
            self._look_ahead()
            self._tell_progress()
        return again

    def _look_ahead(self) -> None:
        """Say what all will cost; stop early where too many rows have failed."""
        num_open = self._num_rows - self._num_stored
        if self._num_ended == min(PROJECTED_AFTER, -(-num_open // 10)):
            projected = self._guard.projected(self._num_ended, num_open)
            passed = self._guard.passed_by(projected)
            warning = f", which passes {passed}: it will stop before the end" if passed else ""
            self._note(f"projected for all {self._num_rows} rows: {describe(projected, self._settings.prices)}{warning}")
        if self._num_failed > (1 - self._settings.min_success_rate) * self._num_rows + 1e-9:
            self._stop(f"{self._num_failed} rows failed, too many for min_success_rate {self._settings.min_success_rate:g}")

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self._last_line < PROGRESS_SECONDS:
            return
        self._last_line = now
        rate, ended = self._num_ended / (now - self._began), self._num_stored + self._num_ended
        left = timedelta(seconds=round((self._num_rows - ended) / rate))
        failed = f", {self._num_failed} failed" if self._num_failed else ""
        self._note(f"{ended} of {self._num_rows} rows{failed}, {rate:.1f} a second, about {left} left")

    async def _reserve(self, cost: Spending) -> None:
        """
        Raises:
            NotAsked: all is over, or the budget has no room for this call and nothing is under way that could leave some.
        """
        async with self._room:
            while not self._guard.reserve(cost):
                if self._stopped is None and not self._guard.has_reserved:
                    self._stop(self._guard.refusal(cost))
                if self._stopped is not None:
                    self._room.notify_all()
                    raise NotAsked
                await self._room.wait()

    def _stop_by_signal(self, name: str) -> None:
        self._note(f"{name}: {self._num_under_way} calls are under way and will be saved; a second signal ends it at once")
        self._stop(f"stopped by {name}")

    async def _stop_and_wake(self, reason: str) -> None:
        self._stop(reason)
        async with self._room:
            self._room.notify_all()

    def _stop(self, reason: str) -> None:
        """Begin nothing more. Whoever waits for room wakes when a call that is under way ends."""
        if self._stopped is None:
            self._stopped = reason
            self._teacher.drain()
