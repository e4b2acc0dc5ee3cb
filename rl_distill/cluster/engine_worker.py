"""One engine in a Ray process: samples shards, and takes new weights between two steps of decoding."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from rl_distill.cluster.direct_transfer import CallDesk
from rl_distill.cluster.process_setup import set_threads
from rl_distill.cluster.worker_process import WorkerProcess
from rl_distill.models.loading import load_model
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import ReceivingEngine, Request, ShardResult, StepwiseEngine
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.rollout.scripted import sample_as_scripted


class EngineWorker(WorkerProcess):
    """Ray calls `sample` in one thread, `receive` in another and the rest in a third: weights can come while a shard is decoded.

    Args:
        student: folder or hub name of a model of the student's architecture.
        number: of this worker among the run's engines.
    """

    def __init__(self, student: str, tokenizer: Any, config: Any, name: str, number: int, threads: int) -> None:
        set_threads(threads)
        self.number = number
        self._make = partial(make_engine, student, tokenizer, config, name)
        self.engine: Any = None
        self._at_work = threading.Lock()  # held by whoever uses the engine
        self._wanted = threading.Event()  # new weights wait for their turn
        self._taken = threading.Event()  # they have got it
        self._desk = CallDesk()
        self._abandoned = False
        self._steps = 0
        self._swaps: list[tuple[int, int]] = []

    def ready(self) -> int:
        """Build the engine, which is too much for a constructor: what that raises, Ray passes on as text only. Its version."""
        if self.engine is None:
            self.engine = self._make()
            self.engine.before_step = self._between_steps
        return self.engine.version

    def sample(self, requests: Sequence[Request]) -> ShardResult | None:
        """One shard; None if it was abandoned on the way."""
        with self._at_work:
            started = time.perf_counter()
            self._steps, self._swaps = 0, []
            try:
                trajectories = self.engine.generate(requests)
            except _Abandoned:
                return None
            seconds = time.perf_counter() - started
            return ShardResult(trajectories=trajectories, worker=self.number, swaps=tuple(self._swaps), seconds=seconds)

    def sample_scripted(self, requests: Sequence[Request], swaps: Sequence[tuple[int, WeightUpdate]]) -> ShardResult:
        """One shard as a recorded run sampled it."""
        with self._at_work:
            started = time.perf_counter()
            trajectories = sample_as_scripted(self.engine, requests, swaps)
            seconds = time.perf_counter() - started
            return ShardResult(trajectories=trajectories, worker=self.number, swaps=(), seconds=seconds)

    def load_weights(self, update: WeightUpdate) -> Mapping[str, str]:
        """Take new weights over, within a step of decoding's time; digests of what the engine holds then."""
        with self._between_two_steps():
            return self.engine.load_weights(update)

    def take_weights(self, version: int) -> Mapping[str, str]:
        """Take over what a learner sends by calls to `receive`; digests of what the engine holds then."""
        with self._between_two_steps():
            return self._desk.serve(cast(ReceivingEngine, self.engine), version)

    def receive(self, backend: str, call: str, arguments: Mapping[str, Any]) -> None:
        """One call of the learner's; see `take_weights`."""
        self._desk.receive(backend, call, arguments)

    def abandon(self, abandoned: bool) -> None:
        """Give up the shard that is being sampled and those that wait, until told otherwise."""
        self._abandoned = abandoned

    def close(self) -> None:
        self.engine.close()

    @contextmanager
    def _between_two_steps(self) -> Iterator[None]:
        """Have the engine to oneself, from the end of a step of decoding on."""
        self._wanted.set()
        with self._at_work:
            self._wanted.clear()
            self._taken.set()
            yield

    def _between_steps(self) -> None:
        """Called by the engine, in the thread that samples, before each step of decoding."""
        if self._abandoned:
            raise _Abandoned
        if self._wanted.is_set():
            self._taken.clear()
            self._at_work.release()
            self._taken.wait()
            self._at_work.acquire()
        if not self._swaps or self._swaps[-1][1] != self.engine.version:
            self._swaps.append((self._steps, self.engine.version))
        self._steps += 1


class _Abandoned(Exception):
    """Nobody waits for this shard any more."""


def make_engine(student: str, tokenizer: Any, config: Any, name: str) -> StepwiseEngine:
    """The engine of a recipe's `engine:`, with the weights of `student`."""
    if isinstance(config, HfEngineConfig):
        return HfEngine(load_model(student), tokenizer, config, name=name)
    from rl_distill.rollout.vllm_engine import VllmEngine

    return VllmEngine(student, tokenizer, config, name=name)
