"""This machine's own numbers, measured with the engine and the learner themselves, in a few seconds."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rl_distill.algorithms.grpo import Grpo
from rl_distill.cluster.machine import this_machine
from rl_distill.cluster.memory import ModelSize
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.planning.decoding import Batching, shard_work
from rl_distill.planning.hardware import Hardware, Number, gpus
from rl_distill.planning.learning_cost import micro_batch_work, pack
from rl_distill.planning.work import Work
from rl_distill.rewards.accuracy import Accuracy
from rl_distill.rollout.engine import Request, Sampling
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.training.model_shape import ModelShape, shape_of
from rl_distill.trajectory import Sample, Trajectory

SHAPES = ((32, 1), (32, 4), (128, 2), (256, 2))  # (hidden, layers)
ROWS = (8, 64)
PROMPT, RESPONSE = 12, 24
MOST_OTHERS = 15  # processes that crowd the machine while it is measured
START_SECONDS = 60.0  # for one of them to start
REPEATS = 4  # the fastest counts: whatever else runs on the machine only adds


def measured(threads: int | None = None) -> Hardware:
    """The CPU of this machine, with what one process of so many threads reaches (None: as many as this process has).

    Rates are those of engine and learner at work on small seeded models, fitted to the planner's own counts; the matrix rate and
    the memory bandwidth are taken by themselves.
    """
    with _threads(threads):
        matmul, bandwidth = matmul_rate(), copy_bandwidth()
        decode_work, decode_seconds, learn_work, learn_seconds, counts = [], [], [], [], []
        for hidden, layers in SHAPES:
            bench = _Bench(hidden, layers)
            for rows in ROWS:
                attempts, taken = bench.sample(rows)
                decode_work.append(bench.decode_work(attempts))
                decode_seconds.append(taken)
                learn_seconds.append(bench.learn(attempts))
                learn_work.append(bench.learn_work(attempts))
                counts.append(rows)
        decode = fitted(decode_work, counts, decode_seconds, matmul=matmul, bandwidth=bandwidth)
        learn = fitted(learn_work, [0] * len(counts), learn_seconds, matmul=matmul, bandwidth=bandwidth)
        tensor, copied = _Bench(*SHAPES[0]).sync(), _Bench(*SHAPES[-1]).sync()
        score = score_rate()
        crowded = crowding(threads or torch.get_num_threads())
    (small_bytes, small_tensors, small), (large_bytes, large_tensors, large) = tensor, copied
    per_tensor = small / small_tensors
    rate = (large_bytes - small_bytes) / max(1e-9, large - per_tensor * large_tensors)
    return _hardware(matmul, bandwidth, decode, learn, per_tensor, max(rate, bandwidth / 100), score, crowded, threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A `Speed` as it was found, and what each attempt costs beside its work; `error` is the mean relative one."""

    pass_seconds: float
    layer_seconds: float
    value_seconds: float
    attempt_seconds: float
    flops: float
    bandwidth: float
    error: float


def fitted(works: Sequence[Work], attempts: Sequence[int], taken: Sequence[float], *, matmul: float, bandwidth: float) -> Fit:
    """The formula of `work.seconds` with the least relative squared error; no coefficient is negative.

    Rates are looked for among fractions of what was measured by itself; with those fixed the rest is linear.
    """
    best = Fit(
        pass_seconds=0, layer_seconds=0, value_seconds=0, attempt_seconds=0, flops=matmul, bandwidth=bandwidth, error=np.inf
    )
    target = np.array(taken)
    linear = np.array([[one.passes, one.layers, one.values, count] for one, count in zip(works, attempts, strict=True)])
    for flops in matmul * np.geomspace(0.2, 1.2, 12):
        for rate in bandwidth * np.geomspace(0.05, 1.0, 12):
            roof = np.array([max(one.flops / flops, one.bytes / rate) for one in works])
            found, error = non_negative(linear / target[:, None], 1 - roof / target)
            if error < best.error:
                best = Fit(
                    pass_seconds=found[0],
                    layer_seconds=found[1],
                    value_seconds=found[2],
                    attempt_seconds=found[3],
                    flops=float(flops),
                    bandwidth=float(rate),
                    error=error,
                )
    return best


def non_negative(rows: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[list[float], float]:
    """Least squares without negative coefficients: of the solutions on all subsets of columns the best that has none.

    Returns them with the root of the mean squared gap. Few columns only: all 2**columns subsets are tried.
    """
    columns = rows.shape[1]
    best, error = np.zeros(columns), float(np.square(target).mean())
    for size in range(1, columns + 1):
        for chosen in combinations(range(columns), size):
            found = np.linalg.lstsq(rows[:, chosen], target, rcond=None)[0]
            gap = float(np.square(rows[:, chosen] @ found - target).mean())
            if (found >= 0).all() and gap < error:
                best, error = np.zeros(columns), gap
                best[list(chosen)] = found
    return best.tolist(), error**0.5


def matmul_rate(size: int = 1024) -> float:
    """FLOP/s of a float32 matrix product, the best of a few."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / _best(lambda: torch.mm(left, right))


def copy_bandwidth(megabytes: int = 128) -> float:
    """Bytes/s that are read and written by a copy which no cache holds."""
    source = torch.ones(megabytes * 2**18)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best(lambda: target.copy_(source))


def score_rate(answers: int = 64) -> float:
    """Seconds of one answer that is a plain number."""
    accuracy = Accuracy(workers=1)
    pairs = [(str(place), rf"so it is \boxed{{{place + place % 2}}}") for place in range(answers)]
    return _best(lambda: accuracy.grade(pairs)) / answers


def crowding(threads: int) -> float:
    """How many times as long sampling and training take while other processes sample on the other cores (on 15 at most)."""
    context, bench = multiprocessing.get_context("spawn"), _Bench(*SHAPES[-1])
    others = min(MOST_OTHERS, _processes(threads) - 1)
    started, ended = context.Semaphore(0), context.Event()
    attempts, alone = bench.sample(ROWS[-1])
    alone += bench.learn(attempts)
    busy = [context.Process(target=_keep_busy, args=(threads, started, ended), daemon=True) for _ in range(others)]
    try:
        for one in busy:
            one.start()
        for _ in busy:
            if not started.acquire(timeout=START_SECONDS):
                return 1.0
        _, beside = bench.sample(ROWS[-1])
        return max(1.0, (beside + bench.learn(attempts)) / alone)
    finally:
        ended.set()
        for one in busy:
            one.join()


def _keep_busy(threads: int, started: Any, ended: Any) -> None:
    """Runs in a process of its own."""
    torch.set_num_threads(threads)
    bench = _Bench(*SHAPES[-1])
    bench.sample(ROWS[0])
    started.release()
    while not ended.is_set():
        bench.sample(ROWS[-1])


def _processes(threads: int) -> int:
    """That have cores of their own, with so many threads each."""
    return max(1, this_machine().cores // threads)


class _Bench:
    """A small model with an engine and a learner of its own."""

    def __init__(self, hidden: int, layers: int) -> None:
        self.tokenizer = arithmetic_tokenizer()
        made = Architecture(hidden_size=hidden, intermediate_size=3 * hidden, num_layers=layers, max_context=64)
        model = made.build(self.tokenizer)
        size = ModelSize(trained=sum(p.numel() for p in model.parameters()), frozen=0, weight_bytes=4)
        self.shape: ModelShape = shape_of(model, size, tensors=len(list(model.parameters())), outgoing_bytes=4 * size.weights)
        self.engine = HfEngine(made.build(self.tokenizer), self.tokenizer, HfEngineConfig(device="cpu"), name="calibration")
        config = LearnerConfig(schedule="constant", warmup_steps=0, micro_batch_tokens=1024, device="cpu", learning_rate=1e-9)
        self.config = config
        self.learner = LocalLearner(model, self.tokenizer, Grpo(kl_coef=0), config)

    def sample(self, rows: int) -> tuple[list[Trajectory], float]:
        prompts = [tuple((7 * (row // 4) + place) % 40 + 3 for place in range(PROMPT)) for row in range(rows)]
        requests = [
            Request(problem_id=str(row // 4), messages=(), token_ids=prompt, sampling=Sampling(max_tokens=RESPONSE), seed=row)
            for row, prompt in enumerate(prompts)
        ]
        attempts = self.engine.generate(requests)
        return attempts, _best(lambda: self.engine.generate(requests))

    def learn(self, attempts: Sequence[Trajectory]) -> float:
        samples = [Sample(trajectory=one, advantage=(-1.0) ** place) for place, one in enumerate(attempts)]
        return _best(lambda: self.learner.step(samples))

    def sync(self) -> tuple[int, int, float]:
        """(bytes, tensors, seconds) of an update."""
        taken = _best(lambda: self.engine.load_weights(self.learner.publish(0)))
        return self.shape.outgoing_bytes, self.shape.tensors, taken

    def decode_work(self, attempts: Sequence[Trajectory]) -> Work:
        batching = Batching(engine="hf", max_rows=128, prefill_tokens=8192, weight_bytes=4)
        return shard_work(self.shape, batching, [one.num_sampled for one in attempts], prompt=PROMPT, group_size=4)

    def learn_work(self, attempts: Sequence[Trajectory]) -> Work:
        units = [[(len(one.token_ids), one.num_sampled)] for one in attempts]
        total = Work()
        for part in pack(units, self.config.micro_batch_tokens):
            total += micro_batch_work(self.shape, part, checkpointing=False, weight_bytes=4)
        return total


def _hardware(
    matmul: float,
    bandwidth: float,
    decode: Fit,
    learn: Fit,
    per_tensor: float,
    rate: float,
    score: float,
    crowded: float,
    threads: int | None,
) -> Hardware:
    def found(value: float, how: str) -> Number:
        return Number(value=value, origin="measured", source=how)

    def guess(value: float, why: str) -> Number:
        return Number(value=value, origin="assumed", source=why)

    assumed = next(iter(gpus().values()))  # of clusters: what does not depend on the device
    count, engine, trained = threads or torch.get_num_threads(), "engine hf on small models", "the learner on small models"
    machine = this_machine()
    return Hardware(
        name=f"this machine ({machine.cores} cores, {count} threads a process)",
        kind="cpu",
        memory_bytes=found(machine.memory_bytes, "what the system tells"),
        bandwidth=found(bandwidth, "a large copy"),
        flops_bfloat16=guess(matmul, "as float32"),
        flops_float32=found(matmul, "matrix product of 1024 x 1024"),
        link=guess(bandwidth / 4, "a quarter of a copy: through shared memory, there and back"),
        network=guess(bandwidth / 4, "as link"),
        devices_per_host=found(_processes(count), "cores, shared out to processes"),
        crowding=found(crowded, "engine and learner beside engines on the other cores"),
        decode_flops_fraction=found(decode.flops / matmul, engine),
        decode_bandwidth_fraction=found(decode.bandwidth / bandwidth, engine),
        learn_flops_fraction=found(learn.flops / matmul, trained),
        hf_pass_seconds=found(decode.pass_seconds, engine),
        hf_layer_seconds=found(decode.layer_seconds, engine),
        vllm_pass_seconds=guess(decode.pass_seconds, "as engine hf"),
        vllm_layer_seconds=guess(decode.layer_seconds, "as engine hf"),
        decode_value_seconds=found(decode.value_seconds, engine),
        learn_pass_seconds=found(learn.pass_seconds, trained),
        learn_layer_seconds=found(learn.layer_seconds, trained),
        learn_value_seconds=found(learn.value_seconds, trained),
        host_copy=found(rate, "publish and load, larger model"),
        store_copy=guess(min(rate, 0.35e9), "scripts/bench/weight_sync.py on two cores"),
        tensor_seconds=found(per_tensor, "publish and load, smallest model"),
        attempt_seconds=found(decode.attempt_seconds, engine),
        score_seconds=found(score, "plain numbers compared"),
        shard_seconds=assumed.shard_seconds,
        rank_step_seconds=assumed.rank_step_seconds,
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _timed(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _best(action: Callable[[], Any]) -> float:
    return min(_timed(action) for _ in range(REPEATS))
