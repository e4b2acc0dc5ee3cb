"""A learner's calls are served where the engine is held, in order, up to the last one or the first that fails."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rl_distill.cluster.direct_transfer import LAST_CALL, CallDesk


class Recorder:
    """An engine of which only the receiving end is there."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.threads: set[int] = set()

    def receive(self, backend: str, call: str, arguments: Mapping[str, Any]) -> None:
        self.calls.append((backend, call, dict(arguments)))
        self.threads.add(threading.get_ident())
        if call == "update_weights" and arguments["update_info"] == "bad":
            raise ValueError("a tensor does not fit")

    def received(self, version: int) -> Mapping[str, str]:
        return {"version": str(version)}


def test_calls_are_served_in_order_by_the_thread_that_holds_the_engine() -> None:
    desk, engine = CallDesk(), Recorder()
    given = [("start_weight_update", {}), *(("update_weights", {"update_info": n}) for n in range(3)), (LAST_CALL, {})]
    with ThreadPoolExecutor(1) as learner:
        calls = [learner.submit(desk.receive, "ipc", call, arguments) for call, arguments in given]
        assert desk.serve(engine, 4) == {"version": "4"}  # type: ignore[arg-type]
        assert [call.result() for call in calls] == [None] * 5
    assert engine.calls == [("ipc", call, arguments) for call, arguments in given]
    assert engine.threads == {threading.get_ident()}


def test_a_call_that_fails_fails_on_both_sides_and_ends_the_service() -> None:
    desk, engine = CallDesk(), Recorder()
    with ThreadPoolExecutor(1) as learner:
        call = learner.submit(desk.receive, "nccl", "update_weights", {"update_info": "bad"})
        with pytest.raises(ValueError, match="does not fit"):
            desk.serve(engine, 4)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="does not fit"):
            call.result()
