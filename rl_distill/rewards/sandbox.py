"""Runs an untrusted Python program in a confined child process (Linux) and brings back what it printed or returned.

Who does what: `confined.py` gives up everything in the child before the program begins; `sandbox_watch.py` feeds and reads it;
this file starts it and ends it. Whether an answer is right is never decided in the child, and what the right answer is never
gets there: a program can only say something, and what it says is data.

What a program can still do: compute; read the Python installation, the shared libraries and its scratch folder; learn whether a
path exists, how large it is and whose (Landlock cannot refuse `stat`); write a few megabytes into its scratch folder. It has one
process with threads: no other processes, no sockets, no signals, and no environment of the user's.
"""

import json
import os
import select
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from rl_distill.errors import InputError
from rl_distill.rewards import confined
from rl_distill.rewards.sandbox_watch import FILE_BYTES, Limits, Reason, Watch

Ending = Literal["finished", "crashed", "memory", "killed", "not_started"] | Reason

MAX_DETAIL = 200
STOP_SECONDS = 10.0  # for a supervisor to end what a program has started; far more than it needs
EXTRA_CPU_SECONDS = 2  # beyond the deadline: this limit is for a child that nobody watches any more

_PROGRAM = "program.py"
# Imported, not run as a script: so its compiled form is used again. Its folder comes last on the path, and is taken off it.
_START = f"import sys; sys.path.append({os.path.dirname(confined.__file__)!r}); import confined; confined.main()"
_PYTHON = (sys.executable, "-X", "utf8", "-S", "-s", "-P", "-B", "-c", _START)
# Constants only. With a random hash seed a program that prints a set would be right today and wrong tomorrow.
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What became of a program.

    finished        ended by itself with exit code 0; everything else is one of these:
    crashed         an exception, another exit code, a signal such as SIGSEGV
    memory          a MemoryError ended it
    timeout         the deadline has passed
    output_limit    it printed more than `Limits.output`
    resource_limit  too many threads, or too much in its scratch folder
    killed          by the kernel, as when the machine is out of memory
    not_started     the sandbox could not be set up: no line of it ran

    stdout    what it printed
    returned  JSON text of what the call returned; "" if it did not return
    detail    the last line of what it said on stderr, or the signal
    """

    ending: Ending
    stdout: str = ""
    returned: str = ""
    detail: str = ""


def run(program: str, limits: Limits, *, stdin: str = "", call: Mapping[str, Any] | None = None) -> Execution:
    """Run a program to its end in a scratch folder of its own, and leave no process and no file behind.

    Args:
        stdin: what it reads.
        call: instead of running it as a script, `{"call": "name" or "Class.method", "arguments": [...]}` is called in it.

    Raises:
        OSError: no scratch folder can be made, or it cannot be removed.
    """
    fed = (stdin if call is None else json.dumps(call)).encode("utf-8", "replace")
    with tempfile.TemporaryDirectory(prefix="rl_distill_sandbox_", ignore_cleanup_errors=not limits.isolated) as scratch:
        (Path(scratch) / _PROGRAM).write_bytes(program.encode("utf-8", "replace"))
        result, childs_result = os.pipe()
        with os.fdopen(result):
            try:
                process = _started(scratch, limits, childs_result, mode="script" if call is None else "call")
            except OSError as error:
                return Execution(ending="not_started", detail=str(error)[:MAX_DETAIL])
            finally:
                os.close(childs_result)
            with _ended(process, supervised=not limits.isolated):
                watch = Watch(process, result, fed, limits, scratch)
                reason = watch.until_end()
    return _execution(watch, reason, process.returncode)


@lru_cache
def check_machine(*, isolated: bool) -> None:
    """See that programs can be run, and for real that an isolated one cannot write elsewhere, connect or fork; looks once.

    Raises:
        InputError: this is not Linux, or it cannot isolate programs.
    """
    if sys.platform != "linux":
        raise InputError("rewards.unit_tests", f"runs programs on Linux only, and this is {sys.platform}", "run it on Linux")
    if not isolated:
        return
    remedy = "run on Linux 5.13 or later with Landlock and libseccomp2, or set `isolation: limits_only` for programs you trust"
    with tempfile.TemporaryDirectory() as outside:
        probe = _PROBE.format(outside=os.path.join(outside, "written"))
        seen = run(probe, Limits(deadline=60.0, memory=512 << 20, output=1 << 16))
    if (seen.ending, seen.stdout) != ("finished", ""):
        found = seen.stdout.strip() or f"{seen.ending}: {seen.detail}"
        raise InputError("rewards.unit_tests.isolation", f"is 'full', which this machine does not give ({found})", remedy)


_PROBE = """
import os, socket
attempts = {{"files": lambda: open({outside!r}, "w"), "network": socket.socket, "processes": os.fork}}
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError:
        continue
    print(name, "are open")
"""


def _started(scratch: str, limits: Limits, result: int, mode: Literal["script", "call"]) -> subprocess.Popen[bytes]:
    """The child, in a session of its own, with its own end of each pipe and nothing else of ours open."""
    order = {
        "program": _PROGRAM,
        "mode": mode,
        "isolated": "yes" if limits.isolated else "no",
        "parent": os.getpid(),
        "result": result,
        "cpu_seconds": int(limits.deadline) + EXTRA_CPU_SECONDS,
        "memory_bytes": limits.memory,
        "file_bytes": FILE_BYTES,
        "readable": ":".join(_readable_folders()),
        "path": ":".join(_import_path()),
    }
    return subprocess.Popen(
        [*_PYTHON, *(f"{name}={value}" for name, value in order.items())],
        bufsize=0,
        cwd=scratch,
        env=_ENVIRONMENT,
        pass_fds=[result],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextmanager
def _ended(process: subprocess.Popen[bytes], *, supervised: bool) -> Iterator[None]:
    """Afterwards the child is dead, with its whole group and, if it supervises the program, all that this has started."""
    with process:
        try:
            yield
        finally:
            if supervised:
                os.kill(process.pid, signal.SIGTERM)
                with closing(os.fdopen(os.pidfd_open(process.pid))) as life:
                    select.select([life], [], [], STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # before it is waited for: until then its number is nobody else's
            process.wait()


def _execution(watch: Watch, reason: Reason | None, code: int) -> Execution:
    stdout, errors, result = (data.decode("utf-8", "replace") for data in (watch.stdout, watch.stderr, watch.result))
    ready = confined.READY.decode()
    last_words = (errors.strip().splitlines() or [""])[-1][:MAX_DETAIL]
    ending: Ending = "finished"
    if reason is not None:
        ending = reason
    elif not result.startswith(ready):
        ending = "not_started"
    elif code > 0:
        ending = "memory" if "MemoryError" in last_words.partition(":")[0] else "crashed"
    elif code < 0:
        ending = {signal.SIGXCPU: "timeout", signal.SIGKILL: "killed"}.get(-code, "crashed")  # type: ignore[call-overload]
        last_words = signal.Signals(-code).name
    return Execution(ending=ending, stdout=stdout, returned=result.removeprefix(ready), detail=last_words)


@lru_cache(maxsize=1)
def _import_path() -> tuple[str, ...]:
    """Where the program imports from: Python's library and the packages installed beside it, without running their hooks."""
    stdlib, *installed = (sysconfig.get_path(kind) for kind in ("stdlib", "platlib", "purelib"))
    return (stdlib, os.path.join(stdlib, "lib-dynload"), *dict.fromkeys(installed))


def _readable_folders() -> tuple[str, ...]:
    libraries = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", os.path.join(sys.base_prefix, "lib"))
    return (*_import_path(), *libraries)
