"""Honest programs in the sandbox, and a sandbox that cannot be had."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from isolation import why_not

from rl_distill.errors import InputError
from rl_distill.rewards import confined, sandbox
from rl_distill.rewards.sandbox import check_machine, run
from rl_distill.rewards.sandbox_watch import Limits

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

LIMITS = Limits(deadline=60.0, memory=1 << 30, output=1 << 20)

HONEST = {
    "input": "print(sum(map(int, input().split())))",
    "buffer": "import sys\ndata = sys.stdin.buffer.read().split()\nsys.stdout.write(str(sum(map(int, data))))",
    "open_0": "print(sum(map(int, open(0).read().split())))",
    "main_guard": "def main(): print(sum(map(int, input().split())))\nif __name__ == '__main__': main()",
    "exit": "print(sum(map(int, input().split())))\nexit(0)\nprint('not reached')",
    "sys_exit": "import sys\nprint(sum(map(int, input().split())))\nsys.exit()",
    "thread_with_a_deep_stack": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 27)\n"
        "def depth(n): return 0 if n == 0 else 1 + depth(n - 1)\n"
        "def main():\n  assert depth(50000) == 50000\n  print(sum(map(int, input().split())))\n"
        "thread = threading.Thread(target=main); thread.start(); thread.join()"
    ),
    "standard_library": (
        "import asyncio.queues, bisect, collections, datetime, decimal, fractions, functools, hashlib, heapq, itertools\n"
        "import math, random, re, statistics, string, sqlite3, time, typing, uuid\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Total:\n  value: int\ntime.sleep(0.001); random.random(); uuid.uuid4()\n"
        "print(Total(sum(map(int, input().split()))).value)"
    ),
    "executor": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool: print(sum(pool.map(int, input().split())))"
    ),
    "numpy": "import numpy as np\nprint(int(np.array(input().split(), dtype=int).sum()), (np.eye(3) @ np.eye(3)).any() and '')",
    "scratch_file": (
        "import os, tempfile\nopen('data.txt', 'w').write(input())\nos.rename('data.txt', 'moved.txt')\n"
        "with tempfile.TemporaryFile('w+') as file:\n  file.write(open('moved.txt').read()); file.seek(0)\n"
        "  print(sum(map(int, file.read().split())))\nos.remove('moved.txt')"
    ),
    "coding_line_and_bom": "\ufeff# -*- coding: utf-8 -*-\nä = sum(map(int, input().split()))\r\nprint(ä)",
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_runs(name: str) -> None:
    execution = run(HONEST[name], LIMITS, stdin="20 22\n")
    assert (execution.ending, execution.stdout.strip()) == ("finished", "42"), execution


def test_a_function_or_a_method_is_called_and_its_value_comes_back_as_json() -> None:
    program = (
        "print('noise')\nimport numpy as np\nclass Solution:\n  def pair(self, a, b): return (a, [b])\n"
        "def total(a): return np.array(a).sum()\nif __name__ == '__main__': raise SystemExit(input())"
    )
    assert run(program, LIMITS, call={"call": "Solution.pair", "arguments": [1, {"k": None}]}).returned == '[1, [{"k": null}]]'
    summed = run(program, LIMITS, call={"call": "total", "arguments": [[1, 2]]})
    assert (summed.returned, summed.stdout) == ("3", "noise\n")


def test_what_is_not_json_is_no_value() -> None:
    execution = run("def f(): return {1, 2}", LIMITS, call={"call": "f", "arguments": []})
    assert (execution.ending, execution.returned) == ("crashed", "")


@pytest.mark.parametrize(
    ("program", "detail"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("print(", "SyntaxError: '(' was never closed"),
        ("a\0b", "null bytes"),
        ("raise SystemExit(3)", ""),
        ("import os; os.abort()", "SIG"),
        ("\ud800 = 1", "SyntaxError"),
    ],
)
def test_a_program_that_fails_is_told_from_one_that_ends(program: str, detail: str) -> None:
    execution = run(program, LIMITS)
    assert execution.ending == "crashed"
    assert detail in execution.detail


def test_text_goes_in_and_comes_out_as_utf8_however_long() -> None:
    text = "größer 漢字 🎲\n" * 20_000
    execution = run("import sys\nfor line in sys.stdin: print(line, end='')", LIMITS, stdin=text)
    assert execution.stdout == text
    assert "�" in run("import os; os.write(1, bytes([255]))", LIMITS).stdout


def test_sets_are_printed_in_the_same_order_every_time() -> None:
    program = "print({'alpha', 'beta', 'gamma', 'delta', 'epsilon'})"
    assert len({run(program, LIMITS).stdout for _ in range(4)}) == 1


def test_programs_run_side_by_side_without_seeing_each_other() -> None:
    program = "import os, time\nname = input()\nopen(name, 'w').close()\ntime.sleep(0.05)\nprint(sorted(os.listdir('.')))"
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda number: run(program, LIMITS, stdin=f"file{number}").stdout, range(12)))
    assert seen == [f"['file{number}', 'program.py']\n" for number in range(12)]


def test_descriptors_do_not_pile_up() -> None:
    run("", LIMITS)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run("print(1)", LIMITS)
        run("while True: print(1)", Limits(deadline=5.0, memory=1 << 30, output=10))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_program_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = "open('started', 'w').close()\nimport time; time.sleep(1000)"
    script = (
        "from rl_distill.rewards.sandbox import run; from rl_distill.rewards.sandbox_watch import Limits\n"
        f"run({program!r}, Limits(deadline=600.0, memory=1 << 30, output=1))"
    )
    package = str(Path(sandbox.__file__).parents[2])
    parent = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": package})
    try:
        until(lambda: list(tmp_path.glob("*/started")))
        [child] = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not _lives(int(child)))


def _lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def unchecked() -> Iterator[None]:
    check_machine.cache_clear()
    yield
    check_machine.cache_clear()


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ("confine_files", "files are open"),
        ("confine_calls", "network are open processes are open"),
    ],
)
def test_a_machine_that_does_not_isolate_is_refused_by_what_it_lets_through(
    broken: str, found: str, unchecked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lame = tmp_path / "confined.py"
    lame.write_text(Path(confined.__file__).read_text() + f"\n\ndef {broken}(*arguments): pass\n")
    start = sandbox._START.replace(os.path.dirname(confined.__file__), str(tmp_path))
    monkeypatch.setattr(sandbox, "_PYTHON", (*sandbox._PYTHON[:-1], start))
    with pytest.raises(
        InputError, match=f"isolation: is 'full', which this machine does not give .*{found}.*; run on Linux 5.13"
    ):
        check_machine(isolated=True)


def test_a_kernel_or_a_library_that_is_missing_is_named(unchecked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lame = tmp_path / "confined.py"
    lame.write_text(Path(confined.__file__).read_text().replace("libseccomp.so.2", "libseccomp.so.none"))
    start = sandbox._START.replace(os.path.dirname(confined.__file__), str(tmp_path))
    monkeypatch.setattr(sandbox, "_PYTHON", (*sandbox._PYTHON[:-1], start))
    with pytest.raises(InputError, match=r"not_started: OSError: libseccomp.so.none: .*set `isolation: limits_only`"):
        check_machine(isolated=True)


def test_another_system_is_refused(unchecked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(InputError, match="on Linux only, and this is darwin"):
        check_machine(isolated=False)


def test_a_python_that_cannot_be_started_is_not_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_PYTHON", ("/no/such/python",))
    execution = run("print(1)", LIMITS)
    assert execution.ending == "not_started"
    assert "/no/such/python" in execution.detail


def test_every_call_on_the_list_exists() -> None:
    import ctypes

    seccomp = ctypes.CDLL("libseccomp.so.2")
    assert [name for name in confined.CALLS if seccomp.seccomp_syscall_resolve_name(name.encode()) == -1] == []
