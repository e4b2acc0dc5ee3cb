"""Workers of which any can do a piece of work: one that dies is replaced, and what it had in hand is done again by others."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from rl_distill.cluster.crew import START_SECONDS, Crew, Worker
from rl_distill.cluster.session import ObjectsLost
from rl_distill.errors import InputError, RunError, WorkerLost

MAX_OUTSTANDING = 2  # pieces of a worker, one in work and one waiting: it need not wait for the driver

Call = Callable[[Any], Any]  # asks an actor for something; a reference to the answer


@dataclass(frozen=True, slots=True)
class Preparation:
    """A call that brings a worker nearer to where the others are, and what its answer must stand."""

    call: Call
    check: Callable[[Worker, Any], None] = lambda worker, answer: None


@dataclass(slots=True, eq=False)
class _Member:
    worker: Worker
    outstanding: dict[Any, int] = field(default_factory=dict)  # reference -> ticket


@dataclass(frozen=True, slots=True)
class _Raised:
    """The answer was an error."""

    error: Exception


@dataclass(slots=True)
class _Piece:
    call: Call
    losses: int = 0  # workers that died or fell silent over it


class Pool:
    """
    Args:
        role: of its workers, for whoever reads about them.
        start: starts the worker of a number.
        prepare: what brings a worker that has started to where the others are, one after the other.

    Raises:
        Exception: what the first workers raise while they are prepared.
    """

    def __init__(
        self, crew: Crew, role: str, count: int, *, start: Callable[[int], Worker], prepare: Callable[[], Sequence[Preparation]]
    ) -> None:
        self.crew, self.role, self._start, self._prepare = crew, role, start, prepare
        self._waiting: deque[int] = deque()
        self._pieces: dict[int, _Piece] = {}  # those that nobody has collected
        self._finished: dict[int, Any] = {}
        self._next_ticket = 0
        self._members = [_Member(start(number)) for number in range(count)]
        self._missing: dict[int, Worker] = {}  # those that found no place, and wait for one
        self.ended = False
        try:
            for member in list(self._members):
                self._met(member)
            for part in prepare():
                self.all(f"{role} start", part.call, START_SECONDS)
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> list[Worker]:
        return [member.worker for member in self._members]

    def all(self, what: str, call: Call, seconds: float | None = None) -> list[Any]:
        """What every worker answers, in order; one that is replaced on the way is asked again.

        Args:
            seconds: longest wait for an answer; none is `cluster.patience_seconds`.
        """
        self._check_open(what)
        asked = {call(member.worker.actor): member for member in self._members}
        found: dict[_Member, Any] = {}
        losses = 0
        while asked:
            for ref, outcome in self._outcomes(what, asked, seconds):
                member = asked.pop(ref)
                if isinstance(outcome, _Raised):
                    raise outcome.error
                if not isinstance(outcome, WorkerLost):
                    found[member] = outcome
                    continue
                losses += 1
                if losses > self.crew.settings.retries * len(self._members):
                    raise outcome
                if self._replaced(member, outcome):
                    asked[call(member.worker.actor)] = member
        return [found[member] for member in self._members]

    def restore(self, prepare: Sequence[Preparation]) -> None:
        """Take in again the workers that were given up and have found a place since; none is waited for."""
        for number, worker in list(self._missing.items()):
            if not ray.wait([worker.hello], timeout=0)[0]:
                continue
            del self._missing[number]
            try:
                self._made_ready(worker, prepare)
            except WorkerLost:
                self.crew.end(worker)
                self._missing[number] = self._start(number)
                continue
            self._members.append(_Member(worker))
            self._members.sort(key=lambda member: member.worker.number)
            self.crew.say(f"{worker} has found a place again")

    def submit(self, call: Call, *, ahead: bool = False) -> int:
        """Have some worker do a piece of work; returns the ticket to `collect` its answer with.

        Args:
            ahead: nobody waits for it yet; it is given to a worker now, and not only when one is free and somebody asks.
        """
        ticket = self._next_ticket
        self._next_ticket += 1
        self._pieces[ticket] = _Piece(call)
        self._waiting.append(ticket)
        self._dispatch(at_once=ahead)
        return ticket

    def collect(self, what: str, ticket: int) -> Any:
        """Wait for the answer to a ticket.

        Raises:
            RunError: it was abandoned or collected before, or no worker survived it.
            Exception: what the worker raised.
        """
        self._check_open(what)
        if ticket not in self._pieces:
            raise RunError(f"{what}: ticket {ticket} was abandoned, or collected before")
        while ticket not in self._finished:
            self._dispatch()
            asked = self._in_hand()
            self._take(asked, self._outcomes(what, asked))
        del self._pieces[ticket]
        outcome = self._finished.pop(ticket)
        if isinstance(outcome, _Raised):
            raise outcome.error
        return outcome

    def finished(self, ticket: int) -> bool:
        """Whether a ticket could be collected at once."""
        if ticket in self._finished:
            return True
        asked = self._in_hand()
        if asked:
            done = ray.wait(list(asked), num_returns=len(asked), timeout=0)[0]
            self._take(asked, [(ref, self._outcome("sampling", ref, asked[ref])) for ref in done])
            self._dispatch()
        return ticket in self._finished

    def abandon(self, what: str) -> None:
        """Give up all work that nobody has collected, and wait until the workers are through with what they have in hand."""
        while asked := self._in_hand():
            self._forget()
            self._take(asked, self._outcomes(what, asked))
        self._forget()

    def close(self) -> None:
        """End the processes as they are."""
        self.ended = True
        for worker in [*self.workers, *self._missing.values()]:
            self.crew.end(worker)

    def _check_open(self, what: str) -> None:
        if self.ended:
            raise WorkerLost(f"{what}: the {self.role} workers were ended after one of them had been lost")

    def _forget(self) -> None:
        self._waiting.clear()
        self._pieces.clear()
        self._finished.clear()

    def _dispatch(self, *, at_once: bool = False) -> None:
        """Hand out what waits: to workers as they get free, or all of it now, since nobody will be here when they are."""
        while self._waiting:
            member = min(self._members, key=lambda member: len(member.outstanding))
            if len(member.outstanding) >= MAX_OUTSTANDING and not at_once:
                return
            ticket = self._waiting.popleft()
            member.outstanding[self._pieces[ticket].call(member.worker.actor)] = ticket

    def _outcomes(self, what: str, asked: Mapping[Any, _Member], seconds: float | None = None) -> list[tuple[Any, Any]]:
        """References that have come to something, as soon as there are any: an answer, an error, or the loss of who had it."""
        try:
            done = self.crew.first(what, {ref: member.worker for ref, member in asked.items()}, seconds)
        except WorkerLost as lost:
            return [(ref, lost) for ref, member in asked.items() if member.worker in lost.workers]
        return [(ref, self._outcome(what, ref, asked[ref])) for ref in done]

    def _outcome(self, what: str, ref: Any, member: _Member) -> Any:
        try:
            return self.crew.answer(what, ref, member.worker)
        except ObjectsLost as error:
            return _Raised(error)
        except WorkerLost as lost:
            return lost
        except Exception as error:
            return _Raised(error)

    def _in_hand(self) -> dict[Any, _Member]:
        return {ref: member for member in self._members for ref in member.outstanding}

    def _take(self, asked: Mapping[Any, _Member], outcomes: Sequence[tuple[Any, Any]]) -> None:
        for ref, outcome in outcomes:
            member = asked[ref]
            if ref not in member.outstanding:
                continue  # its worker was replaced for another piece
            if isinstance(outcome, WorkerLost):
                self._replaced(member, outcome)
                continue
            ticket = member.outstanding.pop(ref)
            if ticket in self._pieces:
                self._finished[ticket] = outcome

    def _replaced(self, member: _Member, lost: WorkerLost) -> bool:
        """Put a new process in the place of one that is lost, and its pieces back; False if no process starts there any more.

        Raises:
            WorkerLost: a piece has cost too many workers, or there is no worker left.
        """
        pieces = [ticket for ticket in member.outstanding.values() if ticket in self._pieces]
        member.outstanding.clear()
        self._waiting.extendleft(reversed(pieces))
        self.crew.end(member.worker)
        for ticket in pieces[:1]:  # the one that was in work
            self._pieces[ticket].losses += 1
            if self._pieces[ticket].losses > self.crew.settings.retries:
                self.close()
                count = self._pieces[ticket].losses
                raise _ended(f"{lost}; {count} workers were lost over the same work (cluster.retries)", lost)
        for _ in range(self.crew.settings.retries):
            member.worker = self._start(member.worker.number)
            try:
                self._made_ready(member.worker, self._prepare())
            except InputError as error:
                raise RunError(f"{lost}; no other can take its place: {error}") from error
            except ObjectsLost as unready:  # it will be what the others are with the next update
                self.crew.end(member.worker)
                lost = unready
                break
            except WorkerLost as again:
                self.crew.end(member.worker)
                lost = again
                continue
            self.crew.say(f"{lost}; {member.worker} takes its place")
            return True
        self._members.remove(member)
        self._missing[member.worker.number] = self._start(member.worker.number)
        if not self._members:
            self.close()
            raise _ended(f"{lost}; no {self.role} worker is left", lost)
        self.crew.say(f"{lost}; the {len(self._members)} other {self.role} workers go on without it")
        return False

    def _met(self, member: _Member) -> None:
        """Wait for a first worker; one that dies on the way is replaced."""
        try:
            self.crew.meet([member.worker])
        except WorkerLost as lost:
            self._replaced(member, lost)

    def _made_ready(self, worker: Worker, prepare: Sequence[Preparation]) -> None:
        self.crew.meet([worker])
        for part in prepare:
            (found,) = self.crew.answers(f"{self.role} start", {part.call(worker.actor): worker}, START_SECONDS)
            part.check(worker, found)


def _ended(message: str, lost: WorkerLost) -> WorkerLost:
    return WorkerLost(message, lost.workers, lost.log)
