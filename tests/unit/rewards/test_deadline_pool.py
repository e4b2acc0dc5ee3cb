"""Processes that hang, die or eat memory cost one deadline and one outcome, never the run."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rl_distill.errors import RunError
from rl_distill.rewards.deadline_pool import Outcome, Workers, close_pools, run_all

TWO = Workers(count=2, ready="json")
ONE = Workers(count=1, ready="json")
ROOT = Path(__file__).parents[3]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def python(*arguments: str, stdin: str | None = None, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"}
    return subprocess.run(
        [sys.executable, *arguments], input=stdin, capture_output=True, text=True, timeout=120, env=environment, check=False
    )


def test_values_come_back_in_order() -> None:
    assert run_all(pow, [(number, 2) for number in range(50)], deadline=30, workers=TWO) == [
        Outcome(value=n * n) for n in range(50)
    ]


def test_hanging_call_times_out_its_process_is_gone_and_the_next_calls_are_served() -> None:
    before = {outcome.value for outcome in run_all(os.getpid, [()] * 20, deadline=30, workers=ONE)}
    outcomes = run_all(time.sleep, [(600,), (0,)], deadline=1, workers=ONE)
    assert [outcome.failure for outcome in outcomes] == ["timeout", None]
    assert not any(is_running(pid) for pid in before)


def test_loop_in_c_that_no_signal_handler_interrupts_is_killed() -> None:
    [outcome] = run_all(pow, [(9, 9**9**2)], deadline=1, workers=ONE)
    assert outcome.failure == "timeout"


def test_call_that_exits_its_process_fails_alone() -> None:
    [outcome] = run_all(os._exit, [(3,)], deadline=30, workers=TWO)
    assert (outcome.failure, outcome.detail) == ("worker_died", "exit code 3")
    assert run_all(abs, [(-1,)], deadline=30, workers=TWO) == [Outcome(value=1)]


def test_call_whose_process_is_ended_from_outside_is_made_again(tmp_path: Path) -> None:
    markers = [tmp_path / name for name in "ab"]  # the first time, the shell ends the process that has called it
    calls = [(f"test -e {marker} || {{ touch {marker}; kill -TERM $PPID; }}",) for marker in markers]
    assert run_all(os.system, calls, deadline=30, workers=TWO) == [Outcome(value=0)] * 2
    assert all(marker.exists() for marker in markers)


def test_call_that_always_ends_its_process_fails_in_the_end() -> None:
    [outcome] = run_all(signal.raise_signal, [(signal.SIGTERM,)], deadline=30, workers=TWO)
    assert (outcome.failure, outcome.detail) == ("worker_died", "its process was ended 3 times")


def test_exception_is_an_outcome_that_names_it() -> None:
    [outcome] = run_all(int, [("x",)], deadline=30, workers=TWO)
    assert outcome.failure == "error"
    assert outcome.detail.startswith("ValueError: invalid literal")


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits of processes are enforced on Linux only")
def test_memory_bomb_fails_alone() -> None:
    [outcome] = run_all(bytes, [(1 << 40,)], deadline=30, workers=TWO)
    assert (outcome.failure, outcome.detail) == ("error", "MemoryError: ")


def test_deadline_starts_when_a_call_starts_running_not_when_it_is_queued() -> None:
    outcomes = run_all(time.sleep, [(0.5,)] * 6, deadline=2, workers=ONE)
    assert [outcome.failure for outcome in outcomes] == [None] * 6


def test_pool_that_lost_an_idle_worker_recovers() -> None:
    [outcome] = run_all(os.getpid, [()], deadline=30, workers=ONE)
    os.kill(outcome.value, signal.SIGKILL)
    time.sleep(0.5)
    assert run_all(abs, [(-1,)], deadline=30, workers=ONE) == [Outcome(value=1)]


def test_threads_share_a_pool() -> None:
    found: dict[int, list[Outcome]] = {}

    def work(number: int) -> None:
        found[number] = run_all(pow, [(number, 2)] * 5, deadline=30, workers=TWO)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [Outcome(value=number**2)] * 5 for number in range(4)}


def test_closing_stops_every_worker_and_the_next_call_starts_new_ones() -> None:
    pids = {outcome.value for outcome in run_all(os.getpid, [()] * 20, deadline=30, workers=TWO)}
    close_pools()
    assert not any(is_running(pid) for pid in pids)
    assert run_all(abs, [(-1,)], deadline=30, workers=TWO) == [Outcome(value=1)]


def test_worker_that_cannot_get_ready_is_an_error_and_no_endless_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aborts_on_import.py").write_text("import os\nos.abort()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RunError, match="did not start.*what 'aborts_on_import' imports must be installed and work"):
        run_all(abs, [(-1,)], deadline=30, workers=Workers(count=1, ready="aborts_on_import"))


@pytest.mark.skipif(sys.platform == "win32", reason="workers are spawned there")
def test_workers_that_replace_killed_ones_are_ready_without_importing_anything_again(tmp_path: Path) -> None:
    (tmp_path / "slow_to_import.py").write_text(
        f"import os\nwith open({str(tmp_path / 'imports')!r}, 'a') as file: print(os.getpid(), file=file)\n"
    )
    program = """
import os
from rl_distill.rewards.deadline_pool import Workers, run_all
one = Workers(count=1, ready="slow_to_import")
print([outcome.failure for outcome in run_all(os._exit, [(3,)] * 4, deadline=30, workers=one)])
"""
    assert python("-c", program, path=tmp_path).stdout == f"{['worker_died'] * 4}\n"
    assert len((tmp_path / "imports").read_text().splitlines()) == 1


PROGRAM = """
import os
from rl_distill.rewards.deadline_pool import Workers, run_all
print(run_all(pow, [(3, 2)], deadline=30, workers=Workers(count=1, ready="json"))[0].value)
"""


def test_works_from_a_command_line_program_and_the_interactive_prompt() -> None:
    assert python("-c", PROGRAM).stdout == "9\n"
    assert "9" in python("-i", stdin=PROGRAM).stdout


def test_works_from_a_guarded_script_and_tells_an_unguarded_one_what_to_do(tmp_path: Path) -> None:
    guarded, unguarded = tmp_path / "guarded.py", tmp_path / "unguarded.py"
    guarded.write_text('if __name__ == "__main__":\n' + PROGRAM.replace("\n", "\n    "))
    unguarded.write_text(PROGRAM)
    assert python(str(guarded)).stdout == "9\n"
    refused = python(str(unguarded))
    assert refused.returncode == 1
    assert 'a script must be a file (not standard input) that does its work under `if __name__ == "__main__":`' in refused.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGALRM")
def test_killed_program_leaves_no_looping_worker_behind() -> None:
    hang = "run_all(pow, [(9, 9**9**2)], deadline=3, workers=Workers(count=1, ready='json'))"
    show = PROGRAM.replace("pow, [(3, 2)]", "os.getpid, [()]").replace(".value)", ".value, flush=True)")
    program = subprocess.Popen(
        [sys.executable, "-c", show + hang], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert program.stdout is not None
    worker = int(program.stdout.readline())
    time.sleep(1)
    program.kill()
    program.wait()
    program.stdout.close()
    for _ in range(300):
        if not is_running(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its program")
