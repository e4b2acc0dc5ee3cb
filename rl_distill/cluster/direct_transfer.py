"""Weights that go from learner ranks to engine workers without passing the driver or the object store."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from rl_distill.cluster.session import answers
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import ReceivingEngine

LAST_CALL = "finish_weight_update"


@dataclass(frozen=True, slots=True)
class Receivers:
    """The engine workers that weights go to; they hold one model each.

    devices  of each, its tensor-parallel ranks
    seconds  longest wait for one answer
    """

    actors: tuple[Any, ...]
    devices: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectUpdate(WeightUpdate):
    """Weights that stay with the learner until engine workers take them. There are no `tensors`.

    digests    empty until they have been sent
    transport  by which they go
    send       has every rank of the learner send them; references to the answers, of which the first is the digests
    end        ends the ranks, if they are caught in a transfer that failed
    """

    digests: dict[str, str]
    transport: str
    send: Callable[[Receivers], Sequence[Any]]
    end: Callable[[], None]


class TransferClient:
    """Makes a sender's calls to all engine workers at once, and waits for all; see vLLM's `VLLMWeightSyncClient`.

    Args:
        backend: vLLM's name of the transport.
    """

    def __init__(self, receivers: Receivers, backend: str) -> None:
        self._receivers, self._backend = receivers, backend

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Every device of every worker becomes a member of its own, where members are numbered."""
        devices, infos = self._receivers.devices, []
        for number in range(len(self._receivers.actors)):
            own = {"rank_offset": init_info["rank_offset"] + number * devices} if "rank_offset" in init_info else {}
            infos.append({"init_info": init_info | own})
        self._call("init_weight_transfer_engine", infos)

    def start_weight_update(self) -> None:
        self._call("start_weight_update")

    def update_weights(self, update_info: Any) -> None:
        self._call("update_weights", [{"update_info": update_info}] * len(self._receivers.actors))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """The version is not passed on: engine workers know it."""
        self._call(LAST_CALL)

    def _call(self, call: str, arguments: Sequence[Mapping[str, Any]] | None = None) -> None:
        actors = self._receivers.actors
        refs = [
            actor.receive.options(concurrency_group="transfer").remote(self._backend, call, given)
            for actor, given in zip(actors, arguments or [{}] * len(actors), strict=True)
        ]
        answers(refs, seconds=self._receivers.seconds, what=f"vLLM's {call}")


class CallDesk:
    """A learner's calls arrive in one thread and are served in another, which holds the engine for as long as they last."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[str, str, Mapping[str, Any], Future[None]]] = SimpleQueue()

    def receive(self, backend: str, call: str, arguments: Mapping[str, Any]) -> None:
        """Have a call served; raises what it raises."""
        served: Future[None] = Future()
        self._calls.put((backend, call, arguments, served))
        served.result()

    def serve(self, engine: ReceivingEngine, version: int) -> Mapping[str, str]:
        """Serve calls to the last one of an update, or to one that fails; digests of what the engine holds then."""
        call = ""
        while call != LAST_CALL:
            backend, call, arguments, served = self._calls.get()
            try:
                engine.receive(backend, call, arguments)
            except BaseException as error:
                served.set_exception(error)
                raise
            served.set_result(None)
        return engine.received(version)
