"""The worker processes of a run: started with a log each, listed while they live, and looked at when they fall silent."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from rl_distill.cluster.host import LOGS, WORKERS
from rl_distill.cluster.machine import check_same_versions
from rl_distill.cluster.placement import Place
from rl_distill.cluster.process_setup import runtime_env
from rl_distill.cluster.session import ObjectsLost, answer
from rl_distill.cluster.settings import RayCluster
from rl_distill.cluster.stacks import Suspect, stacks_of
from rl_distill.cluster.worker_process import Introduction, WorkerProcess
from rl_distill.errors import InputError, RunError, WorkerLost

START_SECONDS = 180.0  # for a process to get its place and start; a host that is gone may never give one
LOOK_SECONDS = 5.0  # from one look at the hosts to the next, while an answer is waited for
DEATH_SECONDS = 5.0  # for Ray to notice a death of which another worker complains


@dataclass(slots=True, eq=False, kw_only=True)
class Worker:
    """One process of a run.

    actor    Ray's handle of it
    hello    reference to its introduction
    who      the introduction, once it has come
    log      what it prints
    version  of the weights that it holds, as far as that is known
    """

    role: str
    number: int
    actor: Any
    hello: Any
    log: Path | None = None
    who: Introduction | None = None
    version: int | None = None

    def __str__(self) -> str:
        name = f"learner rank {self.number}" if self.role == "learner" else f"{self.role} worker {self.number}"
        return name if self.who is None else f"{name} (pid {self.who.pid} on {self.who.host})"


class Crew:
    """Starts a run's workers and waits for them, so that no death and no silence goes unnoticed.

    Args:
        place: options of the actor for a role and a number.
        folder: of the run, where workers.json and logs/ are kept; none keeps neither.
        say: takes a line for the user.
    """

    def __init__(
        self,
        settings: RayCluster,
        place: Callable[[str, int], Place],
        *,
        folder: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.settings, self.place, self.folder, self.say = settings, place, folder, say
        self._living: list[Worker] = []

    def start(
        self, kind: type[WorkerProcess], role: str, number: int, *arguments: Any, threads: int, lanes: Sequence[str] = ()
    ) -> Worker:
        """Start a process; it is not waited for.

        Args:
            lanes: names of groups of calls that are served beside the others, one at a time each.
        """
        remote = ray.remote(concurrency_groups=dict.fromkeys(lanes, 1))(kind) if lanes else ray.remote(kind)
        actor = remote.options(runtime_env=runtime_env(threads=threads), **self.place(role, number)).remote(*arguments)
        log = None if self.folder is None else self.folder.resolve() / LOGS / f"{role}-{number}.log"
        return Worker(role=role, number=number, actor=actor, hello=actor.introduce.remote(log), log=log)

    def meet(self, workers: Sequence[Worker]) -> None:
        """Wait until they have started.

        Raises:
            WorkerLost: one has died already, found no place in time, or is on a host with other versions, which joined late.
        """
        strangers = {worker.hello: worker for worker in workers if worker.who is None}
        for ref, worker in strangers.items():
            done, _ = ray.wait([ref], timeout=START_SECONDS)
            if not done:
                free = ", ".join(f"{kind} {amount:g}" for kind, amount in sorted(self._free().items()))
                raise WorkerLost(
                    f"{worker} found no place within {START_SECONDS:g} s, free in the cluster: {free or 'nothing'}; bring back "
                    f"the hosts that it has lost, or ask for less (cluster.{worker.role})"
                )
            worker.who = self.answer(f"{worker.role} start", ref, worker)
            try:
                check_same_versions(worker.who.host, worker.who.versions)
            except InputError as error:
                raise WorkerLost(f"{worker} cannot join: {error}", [worker], worker.log) from None
            self._living.append(worker)
        self._list()

    def answer(self, what: str, ref: Any, worker: Worker) -> Any:
        """One answer that is there.

        Raises:
            WorkerLost: the worker died.
            Exception: what it raised, as it raised it.
        """
        try:
            return answer(ref, what=what)
        except ObjectsLost:
            raise
        except WorkerLost:
            raise WorkerLost(f"{what}: {worker} died", [worker], worker.log) from None

    def answers(self, what: str, asked: Mapping[Any, Worker], seconds: float | None = None) -> list[Any]:
        """What workers answer that depend on each other, in order of `asked`: references and whom they are from.

        Raises:
            WorkerLost: one died or fell silent, whoever else complains of it.
            Exception: what one raised, as it raised it.
        """
        waiting = dict(asked)
        while waiting:
            for ref in self.first(what, waiting, seconds):
                del waiting[ref]
                try:
                    self.answer(what, ref, asked[ref])
                except (InputError, RunError):
                    raise
                except Exception:
                    self._raise_for_the_dead(what, waiting)
                    raise
        return [ray.get(ref) for ref in asked]

    def first(self, what: str, asked: Mapping[Any, Worker], seconds: float | None = None) -> list[Any]:
        """Those of some references that are there, as soon as there are any.

        Args:
            seconds: longest wait; none is `cluster.patience_seconds`.

        Raises:
            WorkerLost: a host is gone, or nobody answered within `cluster.patience_seconds`; its `workers` are who is meant.
        """
        patience = self.settings.patience_seconds if seconds is None else max(seconds, self.settings.patience_seconds)
        refs, ends = list(asked), time.monotonic() + patience
        while True:
            wait = min(LOOK_SECONDS, max(ends - time.monotonic(), 0.0))
            if ray.wait(refs, num_returns=1, timeout=wait)[0]:
                return list(ray.wait(refs, num_returns=len(refs), timeout=0)[0])
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
            if gone := [worker for worker in asked.values() if worker.who and worker.who.node not in alive]:
                raise WorkerLost(f"{what}: the host of {gone[0]} is gone", gone, gone[0].log)
            if time.monotonic() >= ends:
                silent = list(dict.fromkeys(asked.values()))
                names = ", ".join(map(str, silent[:3])) + (" and others" if len(silent) > 3 else "")
                waited = f"within {patience:g} s{' (cluster.patience_seconds)' if seconds is None else ''}"
                raise WorkerLost(f"{what}: no answer {waited} from {names}{self._stacks()}", silent, silent[0].log)

    def end(self, worker: Worker) -> None:
        """End a process, in whatever state it is, and take it off the list."""
        ray.kill(worker.actor)
        with suppress(ValueError):
            self._living.remove(worker)
        self._list()

    def holds(self, workers: Sequence[Worker], version: int) -> None:
        """Write down which weights workers hold."""
        for worker in workers:
            worker.version = version
        self._list()

    def close(self) -> None:
        if self.folder is not None:
            (self.folder / WORKERS).unlink(missing_ok=True)

    def _raise_for_the_dead(self, what: str, waiting: Mapping[Any, Worker]) -> None:
        """A worker complains: if another one's death is the reason, that is what failed."""
        left, ends = dict(waiting), time.monotonic() + DEATH_SECONDS
        while left and (done := ray.wait(list(left), num_returns=1, timeout=max(ends - time.monotonic(), 0.0))[0]):
            try:
                self.answer(what, done[0], left.pop(done[0]))
            except WorkerLost:
                raise
            except Exception:
                continue

    def _list(self) -> None:
        if self.folder is None:
            return
        rows = [
            {"role": one.role, "rank": one.number, "pid": one.who.pid, "host": one.who.host, "address": one.who.address,
             "version": one.version}
            for one in self._living if one.who is not None
        ]  # fmt: skip
        working = self.folder / f".{WORKERS}.tmp"
        with suppress(OSError):  # a full disk must not end what it only describes
            working.write_text(json.dumps(rows, indent=1))
            working.replace(self.folder / WORKERS)

    def _stacks(self) -> str:
        """Have everyone write its stack; says where they are."""
        if self.folder is None:
            return ""
        logs = self.folder / LOGS
        suspects = [
            Suspect(name=str(one), pid=one.who.pid, node=one.who.node, log=one.log)
            for one in self._living
            if one.who is not None and one.log is not None
        ]
        path = logs / "stacks.txt"
        with suppress(OSError):
            path.write_text(stacks_of(suspects))
        return f"; what every worker was doing: {path}"

    def _free(self) -> dict[str, float]:
        have = ray.available_resources()
        return {kind: have[kind] for kind in ("CPU", "GPU") if have.get(kind)}
