"""Real attacks on the sandbox: none succeeds, and none leaves a process or a file behind."""

import os
import platform
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import sandbox_attacks as attacks
from isolation import why_not

from rl_distill.rewards import UnitTests, sandbox
from rl_distill.rewards.sandbox import Execution, run
from rl_distill.rewards.sandbox_watch import Limits
from rl_distill.trajectory import Message, Problem, Trajectory

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

FORBIDDEN = attacks.FILES | attacks.NETWORK | attacks.PROCESSES
# A machine may forbid these to everybody, so that they need not succeed without the sandbox.
OFTEN_FORBIDDEN = {
    "attach_to_a_process",
    "read_the_parents_memory",
    "io_uring",
    "new_namespace",
    "fork_as_32_bits",
    "write_to_shared_memory",
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """What there is to attack: files, listeners, a process; and where scratch folders are made."""
    home, library, scratches = (tmp_path / name for name in ("home", "library", "scratches"))
    for folder in (home, library, scratches):
        folder.mkdir()
    (home / "secret").write_text("sesame")
    (library / "module.py").write_text("x = 1")
    monkeypatch.setenv("API_KEY", "sesame")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(scratches))
    readable = (*sandbox._readable_folders(), str(library))
    monkeypatch.setattr(sandbox, "_readable_folders", lambda: readable)
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, _unix(tmp_path) as unix:
        udp.bind(("127.0.0.1", 0))
        victim = subprocess.Popen(["sleep", "600"])
        target = {"home": home, "library": library / "module.py", "victim": victim.pid, "unix": unix.getsockname()}
        target |= {
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "clone": 220 if platform.machine() == "aarch64" else 56,
        }
        yield SimpleNamespace(
            home=home, library=library, scratches=scratches, victim=victim, listeners=(tcp, udp, unix), target=target
        )
        victim.kill()
        victim.wait()


def _unix(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(folder / "s") if len(str(folder)) > 90 else str(folder / "s"))
    listener.listen()
    return listener


@pytest.fixture
def attack(world: SimpleNamespace) -> Callable[..., Execution]:
    """Runs an attack."""

    def attack(program: str, *, isolated: bool = True, stdin: str = "", deadline: float = 20.0) -> Execution:
        return run(program, Limits(deadline=deadline, memory=512 << 20, output=1 << 20, isolated=isolated), stdin=stdin)

    return attack


def _processes() -> list[str]:
    """Command lines of living processes in a sandbox of ours."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if f"parent={os.getpid()}" in words:
            found.append(f"{folder.name}: {words}")
    return found


def _untouched(world: SimpleNamespace) -> None:
    """Nobody came, nothing was changed, nothing and nobody is left."""
    home, library = sorted(path.name for path in world.home.iterdir()), sorted(path.name for path in world.library.iterdir())
    assert (home, library) == (["secret"], ["module.py"])
    secret = world.home / "secret"
    assert secret.read_text() == "sesame"
    assert secret.stat().st_mode & 0o777 != 0o777
    assert secret.stat().st_mtime > 0
    assert (world.library / "module.py").read_text() == "x = 1"
    for listener in world.listeners:
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.recv(1) if listener.type == socket.SOCK_DGRAM else listener.accept()
    assert world.victim.poll() is None
    assert list(world.scratches.iterdir()) == []
    assert _processes() == []


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_is_forbidden_fails_in_the_sandbox(name: str, attack: Callable[..., Execution], world: SimpleNamespace) -> None:
    execution = attack(FORBIDDEN[name].format(**world.target))
    assert execution.ending in {"crashed", "finished"}, execution
    assert "GOT" not in execution.stdout
    _untouched(world)


@pytest.mark.parametrize("name", sorted(FORBIDDEN.keys() - OFTEN_FORBIDDEN))
def test_it_is_isolation_that_stops_it(name: str, attack: Callable[..., Execution], world: SimpleNamespace) -> None:
    execution = attack(FORBIDDEN[name].format(**world.target), isolated=False)
    assert "GOT" in execution.stdout, execution


@pytest.mark.parametrize("name", attacks.LIMITS)
def test_what_uses_up_too_much_is_ended(name: str, attack: Callable[..., Execution], world: SimpleNamespace) -> None:
    ending, program = attacks.LIMITS[name]
    execution = attack(program, stdin="flood\n" * 10**6, deadline=1.0 if ending == "timeout" else 20.0)
    assert execution.ending == ending, execution
    _untouched(world)


@pytest.mark.parametrize("name", attacks.OUTLIVING)
def test_without_isolation_nothing_that_a_program_starts_outlives_it(
    name: str, attack: Callable[..., Execution], world: SimpleNamespace
) -> None:
    execution = attack(attacks.OUTLIVING[name], isolated=False, deadline=3.0 if name == "until_the_deadline" else 20.0)
    assert execution.ending == {"until_the_deadline": "timeout", "killed": "crashed"}.get(name, "finished"), execution
    assert not Path(f"/proc/{int(execution.stdout)}").exists()
    _untouched(world)


@pytest.mark.parametrize("name", ["memory_bomb", "spin", "thread_bomb", "crash_the_interpreter", "huge_file", "many_files"])
def test_limits_hold_without_isolation(name: str, attack: Callable[..., Execution], world: SimpleNamespace) -> None:
    ending, program = attacks.LIMITS[name]
    assert attack(program, isolated=False, deadline=1.0 if ending == "timeout" else 20.0).ending == ending
    _untouched(world)


@pytest.mark.parametrize("name", attacks.FAKES)
def test_an_answer_that_is_not_known_cannot_be_faked(name: str, world: SimpleNamespace) -> None:
    secret = f"EXPECTED-{secrets.token_hex(16)}"
    program = attacks.FAKES[name]
    as_call = {"call": "answer", "arguments": ["question"], "expected": secret}
    as_script = {"stdin": "question\n", "stdout": f"{secret}\n"}
    scripted = f"{program}\nprint(answer(input()))" if "def answer" in program else program
    for test, code in ((as_call, program), (as_script, scripted)):
        problem = Problem(id="p", prompt="?", answer=None, source="test", metadata={"tests": [test]})
        message = Message("assistant", f"```python\n{code}\n```")
        trajectory = Trajectory(problem_id="p", messages=(message,), model="m", origin="policy")
        [verdict] = UnitTests().verdicts([(problem, trajectory)])
        assert verdict.status == "wrong", verdict
    _untouched(world)


def test_nothing_of_the_users_environment_is_seen(attack: Callable[..., Execution]) -> None:
    execution = attack("import os; print(sorted(os.environ))")
    assert execution.ending == "finished"
    assert set(eval(execution.stdout)) <= {"PYTHONHASHSEED", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LC_CTYPE"}


def test_only_the_pipes_of_the_sandbox_are_open(attack: Callable[..., Execution], world: SimpleNamespace) -> None:
    opened = [os.open(world.home / "secret", os.O_RDONLY) for _ in range(3)]
    for descriptor in opened:
        os.set_inheritable(descriptor, True)
    execution = attack("import os\nfor n in range(64):\n  try: print(n, os.fstat(n).st_mode >> 12)\n  except OSError: pass")
    for descriptor in opened:
        os.close(descriptor)
    kinds = [int(line.split()[1]) for line in execution.stdout.splitlines()]
    assert kinds == [1, 1, 1, 1]  # stdin, stdout, stderr and the result, all of them pipes


def test_the_kernel_says_that_the_program_is_confined(attack: Callable[..., Execution], world: SimpleNamespace) -> None:
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(attack, "import time; open('ready', 'w').close(); time.sleep(1000)", deadline=5.0)
        while not ended.done() and not list(world.scratches.glob("*/ready")):
            time.sleep(0.01)
        [number] = [line.partition(":")[0] for line in _processes()]
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{number}/status").read_text().splitlines())
    assert {int(status[kind], 16) for kind in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
