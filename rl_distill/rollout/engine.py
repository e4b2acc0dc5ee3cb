"""The engine protocol: what samples from a policy, wherever it lives."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch

from rl_distill.config import config, setting
from rl_distill.errors import RunError
from rl_distill.models.weights import WeightUpdate
from rl_distill.trajectory import Message, Trajectory

EngineDtype = Literal["float32", "bfloat16"]


def torch_dtype(name: EngineDtype) -> torch.dtype:
    """The dtype that an engine holds weights in, and that they are published in."""
    return torch.float32 if name == "float32" else torch.bfloat16


@config
class Sampling:
    """How tokens are drawn. Log-probs are reported under exactly this distribution."""

    temperature: float = setting(1.0, about="softmax temperature; 0 takes the most likely token", source="arXiv:2501.12948", ge=0)
    top_p: float = setting(
        1.0, about="nucleus mass; below 1 only for evaluation, since training ratios would be wrong", gt=0, le=1
    )
    max_tokens: int = setting(512, about="longest response", unit="tokens", ge=1)
    stop_tokens: tuple[str, ...] = setting((), about="further tokens that end a response, beside the tokenizer's end of turn")

    banned: tuple[str, ...] = setting(
        (), about="words and phrases never sampled, however spelled; only for evaluation, since training ratios would be wrong"
    )

    def __post_init__(self) -> None:
        if blank := [text for text in self.banned if not text.strip()]:
            raise ValueError(f"banned holds {blank[0]!r}, which is no word: drop it")
        if self.temperature == 0 and self.top_p < 1:
            raise ValueError("top_p has no effect at temperature 0: drop it, or sample above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One attempt to be sampled. The result is a function of this record, the weights and the shard it travels in."""

    problem_id: str
    messages: tuple[Message, ...]
    token_ids: tuple[int, ...]  # the prompt, rendered and tokenised once
    sampling: Sampling
    seed: int


def load_checked(engine: "Engine", update: WeightUpdate) -> None:
    """Bring weights into an engine.

    Raises:
        RunError: what the engine holds afterwards is not what the learner published.
    """
    check_digests(update, engine.load_weights(update))


def check_digests(update: WeightUpdate, held: Mapping[str, str], engine: str = "the engine") -> None:
    """
    Raises:
        RunError: what an engine holds is not what was published; it names a tensor.
    """
    names = update.digests.keys() | held.keys()
    wrong = sorted(name for name in names if update.digests.get(name) != held.get(name))
    if wrong:
        raise RunError(
            f"{engine} holds other weights than the learner published as version {update.version}: "
            f"{len(wrong)} of {len(names)} tensors differ, such as {wrong[0]!r}"
        )


def generate_checked(engine: "Engine", requests: Sequence[Request]) -> list[Trajectory]:
    """Sample, and see that every request was answered.

    Raises:
        RunError: there is not one trajectory for each request, in order: a dead engine must not look like a small step.
    """
    return answered(requests, engine.generate(requests))


def answered(requests: Sequence[Request], attempts: Sequence[Trajectory]) -> list[Trajectory]:
    """
    Raises:
        RunError: there is not one trajectory for each request, in order.
    """
    if [(attempt.problem_id, attempt.seed) for attempt in attempts] != [(asked.problem_id, asked.seed) for asked in requests]:
        raise RunError(f"the engine was asked for {len(requests)} attempts and gave {len(attempts)}, or not these")
    return list(attempts)


def shards(requests: Sequence[Request], size: int) -> Iterator[Sequence[Request]]:
    """Requests in order, cut into what travels and is sampled together: the unit that gives the same bits on any worker."""
    return (requests[start : start + size] for start in range(0, len(requests), size))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """What became of a shard.

    worker   that sampled it
    swaps    (decode step, version): the weights it was sampled with, from which step of its decoding on
    seconds  that its worker spent on it
    """

    trajectories: list[Trajectory]
    worker: int
    swaps: tuple[tuple[int, int], ...]
    seconds: float


class Engine(Protocol):
    """
    version     of the weights it holds
    shard_size  requests that are sampled together
    """

    version: int
    shard_size: int

    def generate(self, requests: Sequence[Request]) -> list[Trajectory]:
        """One unscored trajectory for each request, in order, with token ids, behavior log-probs and policy versions."""
        ...

    def load_weights(self, update: WeightUpdate) -> Mapping[str, str]:
        """Take over new weights; returns the digests of what it now holds, under the learner's names."""
        ...

    def close(self) -> None:
        """Give back what it holds; nothing else is called afterwards."""
        ...

    def canaries(self, request: Request) -> list[Trajectory]:
        """The same attempt, sampled by each of the engine's workers."""
        ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine that samples while others work."""

    @property
    def num_workers(self) -> int: ...

    def submit(self, shard: Sequence[Request], *, ahead: bool = False) -> int:
        """Have a shard sampled; returns the ticket to `collect` it with.

        Args:
            ahead: nobody waits for it yet; it is given to a worker now, and not only when one is free and somebody asks.
        """
        ...

    def collect(self, ticket: int) -> ShardResult:
        """Wait for a shard."""
        ...

    def finished(self, ticket: int) -> bool:
        """Whether a shard could be collected at once."""
        ...

    def abandon(self) -> None:
        """Give up all shards that nobody has collected."""
        ...


class StepwiseEngine(Engine, Protocol):
    """An engine in this process.

    before_step  called between decode steps, if given; it may load weights, so that one attempt meets several versions
    """

    before_step: Callable[[], None] | None


class ReceivingEngine(StepwiseEngine, Protocol):
    """An engine that a learner can send weights to from device to device."""

    def receive(self, backend: str, call: str, arguments: Mapping[str, Any]) -> None:
        """One call of the learner's, in the terms of the engine's own transport."""
        ...

    def received(self, version: int) -> Mapping[str, str]:
        """The learner has made its last call; digests of what is held now."""
        ...
