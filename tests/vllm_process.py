"""A vLLM engine in a process of its own, as a run has it: vLLM binds memory and takes over torch's threads."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import Request
from rl_distill.rollout.vllm_config import VllmEngineConfig
from rl_distill.rollout.vllm_engine import VllmEngine
from rl_distill.trajectory import Trajectory

VERSION = 7
_engines: list[VllmEngine] = []  # in the engine's process: the one that is up


class EngineProcess:
    """Calls go to the other process; what they raise is raised here."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self._up: tuple[Path, VllmEngineConfig] | None = None

    def start(self, folder: Path, tokenizer: Any, config: VllmEngineConfig) -> None:
        """In place of the engine that is up, unless it is this one."""
        if self._up != (folder, config):
            self._up = None
            self._pool.submit(_start, folder, tokenizer, config).result()
            self._up = (folder, config)

    def generate(self, requests: Sequence[Request]) -> list[Trajectory]:
        return self._pool.submit(_call, "generate", requests).result()

    def load_weights(self, update: WeightUpdate) -> Mapping[str, str]:
        return self._pool.submit(_call, "load_weights", update).result()

    def generate_while_loading(self, requests: Sequence[Request], updates: Mapping[int, WeightUpdate]) -> list[Trajectory]:
        """Load an update before the decode step of its number, in another thread than the one that samples."""
        return self._pool.submit(_generate_while_loading, requests, updates).result()

    def run(self, function: Callable[..., Any], *values: Any) -> Any:
        return self._pool.submit(function, *values).result()


@contextmanager
def engine_process() -> Iterator[EngineProcess]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield EngineProcess(pool)
        pool.submit(_stop).result()


def fail_after(requests: Sequence[Request], steps: int) -> str:
    """Raise between two steps, and see what the engine still holds of the call."""
    engine = _engines[0]
    countdown = iter(range(steps))

    def before_step() -> None:
        if next(countdown, None) is None:
            raise KeyError("from before_step")

    engine.before_step = before_step
    try:
        engine.generate(requests)
    except KeyError as error:
        return f"{error.args[0]}; unfinished: {engine._vllm.get_num_unfinished_requests()}"
    finally:
        engine.before_step = None
    return "nothing was raised"


def _start(folder: Path, tokenizer: Any, config: VllmEngineConfig) -> None:
    _stop()
    _engines.append(VllmEngine(folder, tokenizer, config, name="policy", version=VERSION))


def _stop() -> None:
    while _engines:
        _engines.pop().close()


def _call(method: str, argument: Any) -> Any:
    return getattr(_engines[0], method)(argument)


def _generate_while_loading(requests: Sequence[Request], updates: Mapping[int, WeightUpdate]) -> list[Trajectory]:
    engine, pending, step = _engines[0], dict(updates), 0

    def before_step() -> None:
        nonlocal step
        if step in pending:
            loading.submit(engine.load_weights, pending.pop(step)).result()
        step += 1

    engine.before_step = before_step
    try:
        with ThreadPoolExecutor(1) as loading:
            made = engine.generate(requests)
    finally:
        engine.before_step = None
    assert not pending, "the call was over before these steps"
    return made
