"""One rank of a learner in a Ray process: it steps, scores, and gives its weights away."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rl_distill.cluster.direct_transfer import Receivers, TransferClient
from rl_distill.cluster.host import LearnerSpec
from rl_distill.cluster.process_setup import free_address, set_threads, use_interface_of_cluster
from rl_distill.cluster.settings import DirectTransport
from rl_distill.cluster.weight_store import put
from rl_distill.cluster.worker_process import WorkerProcess
from rl_distill.learning.deepspeed_learner import DeepspeedRank, Sharding, join, leave
from rl_distill.learning.learner_process import ProcessReport
from rl_distill.learning.step_plan import TermShare
from rl_distill.models.digest import tensor_digest
from rl_distill.models.lora import Lora
from rl_distill.rollout.weight_loading import first_names
from rl_distill.trajectory import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the first rank has put into the store; the other ranks put nothing."""

    buckets: Sequence[Any]
    places: dict[str, int]
    digests: dict[str, str]
    num_bytes: int
    lora: Lora | None


class LearnerWorker(WorkerProcess):
    """One rank, in a process of its own, which serves the learners of all stages of a run, one after another."""

    def __init__(self, rank: int, threads: int) -> None:
        set_threads(threads)
        use_interface_of_cluster()
        self.rank = rank
        self._receivers: Receivers | None = None  # that the sender is connected to

    def free_address(self) -> tuple[str, int]:
        return free_address()

    def join(self, num_ranks: int, address: str, port: int, patience_seconds: float) -> None:
        """Meet the other ranks. None waits longer for the others than that, now and in every collective."""
        join(self.rank, num_ranks, address, port, timeout_seconds=patience_seconds)

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
            del tensors  # or it would still be there while the next bucket is gathered
        if self.rank > 0:
            return None
        return Published(buckets=buckets, places=places, digests=digests, num_bytes=num_bytes, lora=self.learner.outgoing.lora)

    def outgoing_bytes(self) -> int:
        """Of the weights that travel."""
        return self.learner.outgoing.num_bytes

    def send(self, receivers: Receivers, transport: DirectTransport, max_bytes: int) -> dict[str, str] | None:
        """Send the weights from device to device, bucket by bucket; the first rank returns the digests of what it sent."""
        from rl_distill.rollout.vllm_transfer import GatheredWeights, open_sender

        learner = self.learner
        source = GatheredWeights(
            learner.outgoing,
            partial(learner.weights, max_bytes, copy=True),
            first_names(learner.model),
            learner.device,
            digest=self.rank == 0,
        )
        if receivers != self._receivers:
            info = self._connection(transport, source, receivers, max_bytes)
            self._sender = open_sender(info, TransferClient(receivers, info.backend), source)
            self._receivers = receivers
        self._sender.source = source
        try:
            self._sender.send_weights()
        finally:
            self._sender.source = None  # the sender outlives the stage, and the learner must not
        return source.digests if self.rank == 0 else None

    def _connection(self, transport: DirectTransport, source: Any, receivers: Receivers, max_bytes: int) -> Any:
        from rl_distill.rollout.vllm_transfer import connection

        num_receivers = len(receivers.actors) * receivers.devices
        return connection(transport, self.rank, source, address=free_address(), num_receivers=num_receivers, max_bytes=max_bytes)

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
