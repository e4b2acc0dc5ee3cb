"""A learner whose ranks are Ray processes, each with a DeepSpeed engine."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray

from rl_distill.cluster.direct_transfer import DirectUpdate, Receivers
from rl_distill.cluster.host import LearnerSpec
from rl_distill.cluster.learner_worker import LearnerWorker
from rl_distill.cluster.placement import Place
from rl_distill.cluster.process_setup import runtime_env
from rl_distill.cluster.session import answers
from rl_distill.cluster.settings import DirectTransport, RayCluster
from rl_distill.cluster.weight_store import StoredTensors
from rl_distill.errors import RunError
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
    """The processes of a learner. They start at once and meet when the first learner is built."""

    def __init__(self, settings: RayCluster, place: Callable[[int], Place]) -> None:
        self.settings = settings
        places = settings.learner
        environment = runtime_env(threads=places.threads)
        self.workers = [
            ray.remote(LearnerWorker).options(runtime_env=environment, **place(rank)).remote(rank, places.threads)
            for rank in range(places.ranks)
        ]
        self._joined = False
        self.ended = False

    def meet(self) -> None:
        if not self._joined:
            (address, port), *_ = self.ask("learner rank 0", [self.workers[0].free_address.remote()])
            meeting = (len(self.workers), address, port, self.settings.patience_seconds)
            self.all("meeting of the learner's ranks", lambda worker: worker.join.remote(*meeting))
        self._joined = True

    def all(self, what: str, call: Callable[[Any], Any]) -> list[Any]:
        """What every rank answers."""
        return self.ask(what, [call(worker) for worker in self.workers])

    def ask(self, what: str, refs: Sequence[Any]) -> list[Any]:
        return answers(refs, seconds=self.settings.patience_seconds, what=what)

    def close(self) -> None:
        """Let the ranks leave their group in order, and end their processes whatever comes of that."""
        if self._joined and not self.ended:
            ray.wait([worker.leave.remote() for worker in self.workers], num_returns=len(self.workers), timeout=LEAVE_SECONDS)
        self.end()

    def end(self) -> None:
        """End the processes as they are."""
        self.ended = True
        for worker in self.workers:
            ray.kill(worker)


class LearnerFleet:
    """See `learning.learner.Learner`. Folders are given by path, so all hosts of the cluster must see the same files."""

    def __init__(self, spec: LearnerSpec, ranks: Ranks) -> None:
        self.spec, self.ranks = spec, ranks
        places = ranks.settings.learner
        sharding = Sharding(stage=places.zero_stage, offload=places.offload)
        self.steps_done = 0
        shared = ray.put(spec)
        ranks.meet()
        ranks.all("learner start", lambda worker: worker.build.remote(shared, sharding))

    def step(self, samples: Sequence[Sample], *, schedule_step: int | None = None) -> StepReport:
        plan = plan_step(
            samples, self.spec.terms, num_processes=len(self.ranks.workers), max_tokens=self.spec.config.micro_batch_tokens
        )
        where = self.steps_done if schedule_step is None else schedule_step
        self.steps_done += 1  # before the weights change, as in one process
        refs = [worker.step.remote(shares, where) for worker, shares in zip(self.ranks.workers, plan, strict=True)]
        return step_report(plan[0], self.ranks.ask(f"learner step {where + 1}", refs))

    def logprobs(self, trajectories: Sequence[Trajectory], *, temperature: float = 1.0) -> list[tuple[float, ...]]:
        parts = scoring_parts(trajectories, self.spec.config.micro_batch_tokens)
        count = len(self.ranks.workers)
        rounds = -(-len(parts) // count)
        padded = [*parts, *[parts[-1]] * (rounds * count - len(parts))]  # sharded ranks make equally many passes
        refs = [worker.score.remote(padded[rank::count], temperature) for rank, worker in enumerate(self.ranks.workers)]
        by_rank = self.ranks.ask("learner log-probs", refs)
        return in_order(parts, [by_rank[place % count][place // count] for place in range(len(parts))])

    def publish(self, version: int) -> WeightUpdate:
        if self.ranks.settings.transport != "object_store":
            return self._to_be_sent(version, self.ranks.settings.transport)
        max_bytes = self.ranks.settings.bucket_mib * 2**20
        found, *_ = self.ranks.all("publishing weights", lambda worker: worker.publish.remote(max_bytes))
        return WeightUpdate(
            version=version,
            tensors=StoredTensors(found.buckets, found.places),
            digests=found.digests,
            num_bytes=found.num_bytes,
            lora=found.lora,
        )

    def save(self, folder: Path) -> None:
        self.ranks.all("saving", lambda worker: worker.save.remote(folder.resolve()))

    def load(self, folder: Path) -> None:
        self.ranks.all("loading", lambda worker: worker.load.remote(folder.resolve()))
        self.steps_done = read_steps_done(folder)

    def export(self, folder: Path) -> None:
        self.ranks.all("exporting", lambda worker: worker.export.remote(folder.resolve()))

    def close(self) -> None:
        if not self.ranks.ended:
            self.ranks.all("learner end", lambda worker: worker.release.remote())

    def _to_be_sent(self, version: int, transport: DirectTransport) -> DirectUpdate:
        (num_bytes,) = self.ranks.ask("publishing weights", [self.ranks.workers[0].outgoing_bytes.remote()])
        max_bytes, steps_done = self.ranks.settings.bucket_mib * 2**20, self.steps_done

        def send(receivers: Receivers) -> list[Any]:
            if self.steps_done != steps_done:
                raise RunError(f"weights of version {version} were not taken before the learner's next step changed them")
            return [worker.send.remote(receivers, transport, max_bytes) for worker in self.ranks.workers]

        return DirectUpdate(
            version=version,
            tensors={},
            digests={},
            num_bytes=num_bytes,
            transport=transport,
            send=send,
            end=self.ranks.end,
        )
