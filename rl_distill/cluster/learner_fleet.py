"""A learner whose ranks are Ray processes, each with a DeepSpeed engine."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from rl_distill.cluster.crew import Crew, Worker
from rl_distill.cluster.direct_transfer import DirectUpdate, Receivers
from rl_distill.cluster.host import LearnerSpec
from rl_distill.cluster.learner_worker import LearnerWorker
from rl_distill.cluster.settings import DirectTransport
from rl_distill.cluster.weight_store import StoredTensors
from rl_distill.errors import RunError, WorkerLost
from rl_distill.learning.deepspeed_learner import Sharding
from rl_distill.learning.learner import StepReport
from rl_distill.learning.learner_process import step_report
from rl_distill.learning.scorer import in_order, scoring_parts
from rl_distill.learning.step_plan import plan_step
from rl_distill.learning.training_state import read_steps_done
from rl_distill.models.weights import WeightUpdate
from rl_distill.trajectory import Sample, Trajectory

LEAVE_SECONDS = 10.0  # for the ranks to part


class Ranks:
    """The processes of a learner. They start at once and meet when the first learner is built; lost, they all start anew."""

    workers: list[Worker]
    ended: bool
    _joined: bool

    def __init__(self, crew: Crew) -> None:
        self.crew, self.settings = crew, crew.settings
        self._begin()

    @property
    def actors(self) -> list[Any]:
        return [worker.actor for worker in self.workers]

    def meet(self) -> None:
        """See that all have started and know each other; those that were ended start anew.

        Raises:
            WorkerLost: one has died, or found no place.
        """
        if self.ended:
            self._begin()
        if self._joined:
            return
        try:
            self.crew.meet(self.workers)
        except WorkerLost:
            self.end()
            raise
        (address, port), *_ = self.ask("learner rank 0", {self.actors[0].free_address.remote(): self.workers[0]})
        meeting = (len(self.workers), address, port, self.settings.patience_seconds)
        self.all("meeting of the learner's ranks", lambda actor: actor.join.remote(*meeting))
        self._joined = True

    def all(self, what: str, call: Callable[[Any], Any]) -> list[Any]:
        """What every rank answers."""
        if self.ended:
            raise WorkerLost(f"{what}: the learner's ranks were ended after one of them had been lost")
        return self.ask(what, {call(worker.actor): worker for worker in self.workers})

    def ask(self, what: str, asked: Mapping[Any, Worker]) -> list[Any]:
        """Answers in the order of `asked`. One rank that is lost ends them all: what connects them cannot be used again."""
        try:
            return self.crew.answers(what, asked)
        except WorkerLost:
            self.end()
            raise

    def close(self, *, failed: bool = False) -> None:
        """Let the ranks leave their group in order, if nothing has failed, and end their processes whatever comes of that."""
        if self._joined and not self.ended and not failed:
            ray.wait([actor.leave.remote() for actor in self.actors], num_returns=len(self.actors), timeout=LEAVE_SECONDS)
        self.end()

    def end(self) -> None:
        """End the processes as they are."""
        self.ended = True
        for worker in self.workers:
            self.crew.end(worker)

    def _begin(self) -> None:
        places = self.settings.learner
        self.workers = [
            self.crew.start(LearnerWorker, "learner", rank, rank, places.threads, threads=places.threads)
            for rank in range(places.ranks)
        ]
        self._joined = self.ended = False


class LearnerFleet:
    """See `learning.learner.Learner`. Folders are given by path, so all hosts of the cluster must see the same files."""

    def __init__(self, spec: LearnerSpec, ranks: Ranks) -> None:
        self.spec, self.ranks = spec, ranks
        places = ranks.settings.learner
        sharding = Sharding(stage=places.zero_stage, offload=places.offload)
        self.steps_done = 0
        shared = ray.put(spec)
        ranks.meet()
        ranks.all("learner start", lambda actor: actor.build.remote(shared, sharding))

    def step(self, samples: Sequence[Sample], *, schedule_step: int | None = None) -> StepReport:
        plan = plan_step(
            samples, self.spec.terms, num_processes=len(self.ranks.workers), max_tokens=self.spec.config.micro_batch_tokens
        )
        where = self.steps_done if schedule_step is None else schedule_step
        self.steps_done += 1  # before the weights change, as in one process
        shares = iter(plan)
        reports = self.ranks.all(f"learner step {where + 1}", lambda actor: actor.step.remote(next(shares), where))
        return step_report(plan[0], reports)

    def logprobs(self, trajectories: Sequence[Trajectory], *, temperature: float = 1.0) -> list[tuple[float, ...]]:
        parts = scoring_parts(trajectories, self.spec.config.micro_batch_tokens)
        count = len(self.ranks.workers)
        rounds = -(-len(parts) // count)
        padded = [*parts, *[parts[-1]] * (rounds * count - len(parts))]  # sharded ranks make equally many passes
        shares = (padded[rank::count] for rank in range(count))
        by_rank = self.ranks.all("learner log-probs", lambda actor: actor.score.remote(next(shares), temperature))
        return in_order(parts, [by_rank[place % count][place // count] for place in range(len(parts))])

    def publish(self, version: int) -> WeightUpdate:
        if self.ranks.settings.transport != "object_store":
            return self._to_be_sent(version, self.ranks.settings.transport)
        max_bytes = self.ranks.settings.bucket_mib * 2**20
        found, *_ = self.ranks.all("publishing weights", lambda actor: actor.publish.remote(max_bytes))
        self.ranks.crew.holds(self.ranks.workers, version)
        return WeightUpdate(
            version=version,
            tensors=StoredTensors(found.buckets, found.places),
            digests=found.digests,
            num_bytes=found.num_bytes,
            lora=found.lora,
        )

    def save(self, folder: Path) -> None:
        self.ranks.all("saving", lambda actor: actor.save.remote(folder.resolve()))

    def load(self, folder: Path) -> None:
        self.ranks.all("loading", lambda actor: actor.load.remote(folder.resolve()))
        self.steps_done = read_steps_done(folder)

    def export(self, folder: Path) -> None:
        self.ranks.all("exporting", lambda actor: actor.export.remote(folder.resolve()))

    def close(self) -> None:
        if not self.ranks.ended:
            self.ranks.all("learner end", lambda actor: actor.release.remote())

    def _to_be_sent(self, version: int, transport: DirectTransport) -> DirectUpdate:
        first = self.ranks.workers[0]
        (num_bytes,) = self.ranks.ask("publishing weights", {first.actor.outgoing_bytes.remote(): first})
        max_bytes, steps_done = self.ranks.settings.bucket_mib * 2**20, self.steps_done

        def send(receivers: Receivers) -> list[Any]:
            if self.steps_done != steps_done:
                raise RunError(f"weights of version {version} were not taken before the learner's next step changed them")
            return [actor.send.remote(receivers, transport, max_bytes) for actor in self.ranks.actors]

        return DirectUpdate(
            version=version,
            tensors={},
            digests={},
            num_bytes=num_bytes,
            transport=transport,
            send=send,
            end=self.ranks.end,
        )
