"""A learner whose ranks are Ray processes, each with a DeepSpeed engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from rl_distill.cluster.host import LearnerSpec
from rl_distill.cluster.placement import Place
from rl_distill.cluster.process_setup import free_address, runtime_env, set_threads, use_interface_of_cluster
from rl_distill.cluster.session import answers
from rl_distill.cluster.settings import RayCluster
from rl_distill.cluster.weight_store import StoredTensors, put
from rl_distill.learning.deepspeed_learner import DeepspeedRank, Sharding, join, leave
from rl_distill.learning.learner import StepReport
from rl_distill.learning.learner_process import ProcessReport, step_report
from rl_distill.learning.scorer import in_order, scoring_parts
from rl_distill.learning.step_plan import TermShare, plan_step
from rl_distill.learning.training_state import read_steps_done
from rl_distill.models.digest import tensor_digest
from rl_distill.models.lora import Lora
from rl_distill.models.weights import WeightUpdate
from rl_distill.trajectory import Sample, Trajectory

JOIN_SECONDS = 300.0  # for the ranks to meet
LEAVE_SECONDS = 10.0  # for them to part


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the first rank has put into the store; the other ranks put nothing."""

    buckets: Sequence[Any]
    places: dict[str, int]
    digests: dict[str, str]
    num_bytes: int
    lora: Lora | None


class LearnerWorker:
    """One rank, in a process of its own, which serves the learners of all stages of a run, one after another."""

    def __init__(self, rank: int, threads: int) -> None:
        set_threads(threads)
        use_interface_of_cluster()
        self.rank = rank

    def free_address(self) -> tuple[str, int]:
        return free_address()

    def join(self, num_ranks: int, address: str, port: int) -> None:
        """Meet the other ranks."""
        join(self.rank, num_ranks, address, port, timeout_seconds=JOIN_SECONDS)

    def build(self, spec: LearnerSpec, sharding: Sharding) -> None:
        """Make this rank's engine."""
        self.learner = DeepspeedRank(
            spec.make_model(),
            spec.tokenizer,
            spec.terms,
            spec.config,
            sharding,
            total_steps=spec.total_steps,
            publish_dtype=spec.publish_dtype,
            publish_merged=spec.publish_merged,
        )

    def step(self, shares: Sequence[TermShare], schedule_step: int | None) -> ProcessReport:
        return self.learner.step_share(shares, schedule_step=schedule_step)

    def score(self, parts: Sequence[Sequence[Sample]], temperature: float) -> list[list[tuple[float, ...]]]:
        return [self.learner.score(part, temperature) for part in parts]

    def publish(self, max_bytes: int) -> Published | None:
        """Gather the weights bucket by bucket; the first rank puts each into the store before the next is gathered."""
        buckets: list[Any] = []
        places: dict[str, int] = {}
        digests = dict(self.learner.outgoing.frozen)
        num_bytes = 0
        for tensors in self.learner.weights(max_bytes):
            if self.rank == 0:
                places |= dict.fromkeys(tensors, len(buckets))
                digests |= {name: tensor_digest(tensor) for name, tensor in tensors.items()}
                num_bytes += sum(tensor.nbytes for tensor in tensors.values())
                buckets.append(put(tensors))
        if self.rank > 0:
            return None
        return Published(buckets=buckets, places=places, digests=digests, num_bytes=num_bytes, lora=self.learner.outgoing.lora)

    def save(self, folder: Path) -> None:
        self.learner.save(folder)

    def load(self, folder: Path) -> None:
        self.learner.load(folder)

    def export(self, folder: Path) -> None:
        self.learner.export(folder)

    def release(self) -> None:
        """Give back the stage's engine."""
        self.learner.close()
        del self.learner

    def leave(self) -> None:
        leave()


class Ranks:
    """The processes of a learner. They start at once and meet when the first learner is built."""

    def __init__(self, settings: RayCluster, place: Callable[[int], Place]) -> None:
        self.settings = settings
        places = settings.learner
        environment = runtime_env(threads=places.threads)
        self.workers = [
            ray.remote(LearnerWorker).options(runtime_env=environment, **place(rank).options).remote(rank, places.threads)
            for rank in range(places.ranks)
        ]
        self._joined = False

    def meet(self) -> None:
        if not self._joined:
            (address, port), *_ = self.ask("learner rank 0", [self.workers[0].free_address.remote()])
            self.all("meeting of the learner's ranks", lambda worker: worker.join.remote(len(self.workers), address, port))
        self._joined = True

    def all(self, what: str, call: Callable[[Any], Any]) -> list[Any]:
        """What every rank answers."""
        return self.ask(what, [call(worker) for worker in self.workers])

    def ask(self, what: str, refs: Sequence[Any]) -> list[Any]:
        return answers(refs, seconds=self.settings.patience_seconds, what=what)

    def close(self) -> None:
        """Let the ranks leave their group in order, and end their processes whatever comes of that."""
        if self._joined:
            ray.wait([worker.leave.remote() for worker in self.workers], num_returns=len(self.workers), timeout=LEAVE_SECONDS)
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
        self.ranks.all("learner end", lambda worker: worker.release.remote())
