"""Feeds and reads a child process, and tells when it has to be killed. What it says is untrusted, and so is when it says it."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Literal

from rl_distill.rewards.confined import READY, children

Reason = Literal["timeout", "output_limit", "resource_limit"]

TICK_SECONDS = 0.05  # how often it is looked at what no limit of the kernel bounds: threads and the scratch folder
SCRATCH_BYTES = 16 << 20
FILE_BYTES = 8 << 20  # of one file; the kernel sees to it, also in a file without a name
SCRATCH_FILES = 200
MAX_THREADS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may use up.

    deadline  seconds from its start to its end, the start of Python included
    memory    bytes of address space; thread stacks and libraries count
    output    bytes on each of stdout, stderr and the returned value
    isolated  False leaves files, network and processes open, and ends all processes with the program: only for trusted ones
    """

    deadline: float
    memory: int
    output: int
    isolated: bool = True


class Watch:
    """One child from its start to its end. The pipes belong to the caller, who kills the child and closes them afterwards.

    Attributes:
        stdout, stderr, result: what came through each pipe, at most one chunk more than `Limits.output`.
    """

    def __init__(self, process: subprocess.Popen[bytes], result: int, fed: bytes, limits: Limits, scratch: str) -> None:
        assert process.stdin and process.stdout and process.stderr
        self.stdout, self.stderr, self.result = bytearray(), bytearray(), bytearray()
        self._process, self._scratch, self._limits = process, scratch, limits
        self._stdin, self._unfed = process.stdin, memoryview(fed)
        self._outputs = {process.stdout.fileno(): self.stdout, process.stderr.fileno(): self.stderr, result: self.result}
        self._ended = False
        self._reason: Reason | None = None

    def until_end(self) -> Reason | None:
        """Returns when the child has ended by itself (None), or with the reason why it must not go on."""
        deadline = time.monotonic() + self._limits.deadline
        with selectors.DefaultSelector() as selector, closing(os.fdopen(os.pidfd_open(self._process.pid))) as life:
            os.set_blocking(self._stdin.fileno(), False)
            selector.register(self._stdin, selectors.EVENT_WRITE, self._feed)
            for pipe in self._outputs:
                selector.register(pipe, selectors.EVENT_READ, self._read)
            selector.register(life, selectors.EVENT_READ, self._end)
            self._listen(selector, deadline)
        return self._reason

    def _listen(self, selector: selectors.BaseSelector, deadline: float) -> None:
        next_look = time.monotonic()
        while self._reason is None:
            now = time.monotonic()
            if now >= deadline:
                self._reason = "timeout"
                return
            if now >= next_look and not self._ended:
                self._look()
                next_look = now + TICK_SECONDS
            ready = selector.select(0 if self._ended else TICK_SECONDS)
            if self._ended and not ready:
                return
            for key, _ in ready:
                heard: Callable[[int], bool] = key.data
                if not heard(key.fd):
                    selector.unregister(key.fileobj)

    def _feed(self, pipe: int) -> bool:
        """Write what fits; False when there is no more to write or nobody to read it."""
        with suppress(BlockingIOError):
            try:
                self._unfed = self._unfed[os.write(pipe, self._unfed) :] if self._unfed else self._unfed
            except BrokenPipeError:
                self._unfed = self._unfed[:0]
        if self._unfed:
            return True
        self._stdin.close()
        return False

    def _read(self, pipe: int) -> bool:
        chunk = os.read(pipe, 1 << 16)
        received = self._outputs[pipe]
        received += chunk
        if len(received) > self._limits.output + len(READY):
            self._reason = "output_limit"
        return bool(chunk)

    def _end(self, _: int) -> bool:
        self._ended = True  # what is still in the pipes is read before `_listen` returns
        return False

    def _look(self) -> None:
        pid = self._process.pid
        programs = [pid] if self._limits.isolated else children(pid)
        if any(map(_has_too_many_threads, programs)) or _is_full(self._scratch):
            self._reason = "resource_limit"


def _has_too_many_threads(pid: int) -> bool:
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > MAX_THREADS
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has just ended


def _is_full(scratch: str) -> bool:
    """Looks at no more files than are allowed. There are no folders in it: a confined program can make none."""
    used = 0
    with os.scandir(scratch) as files:
        for number, file in enumerate(files, start=1):
            with suppress(FileNotFoundError):  # it has just been removed
                used += file.stat(follow_symlinks=False).st_blocks * 512
            if used > SCRATCH_BYTES or number > SCRATCH_FILES:
                return True
    return False
