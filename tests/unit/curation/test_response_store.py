"""What is on disk stays there and is found again."""

import json
import os
import subprocess
import sys

import pytest

from rl_distill.curation.store import ResponseStore, explain, mend_last_line
from rl_distill.curation.teacher import Attempt, Response
from rl_distill.errors import InputError, RunError

SETTINGS = {"teacher": {"model": "m"}, "sampling": {"temperature": 1.0, "max_tokens": 5}, "system_prompt": None, "seed": 0}


def response(text: str, **fields: object) -> Response:
    values = {"row_key": "k-0", "problem_id": "p", "seed": 1, "max_tokens": 5, "text": text, "raw": {"text": text}, **fields}
    return Response(**values)


def test_what_is_added_comes_back_equal_also_in_another_process(tmp_path):
    whole = response(
        "an\u2028swer\n",
        logprobs=({"token": "a", "logprob": -0.25, "top_logprobs": []},),
        attempts=(Attempt(failure="time_out", message="slow", seconds=1.5, endpoint="x"),),
        price=0.125,
        prompt_tokens=3,
    )
    with ResponseStore(tmp_path, SETTINGS) as store:
        store.add("r", whole)
        assert store.get("r") == whole
    with ResponseStore(tmp_path, SETTINGS) as again:
        assert again.get("r") == whole and len(again) == 1
        assert (again.spent.price, again.spent.prompt_tokens) == (0.125, 3)
        assert again.get("other") is None


@pytest.mark.parametrize("where", range(0, 400, 7))
def test_a_file_cut_anywhere_keeps_every_whole_line(tmp_path, where):
    with ResponseStore(tmp_path, SETTINGS) as store:
        for number in range(3):
            store.add(f"r{number}", response(f"text {number}"))
        (path,) = store.path.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    size = len(b"".join(lines)) - where
    os.truncate(path, size)
    ends = [len(b"".join(lines[: number + 1])) - 1 for number in range(3)]  # without the newline: whole already
    with ResponseStore(tmp_path, SETTINGS) as again:
        assert len(again) == sum(end <= size for end in ends)
        again.add("new", response("new"))
    with ResponseStore(tmp_path, SETTINGS) as last:
        assert last.get("new").text == "new"


def test_a_last_line_that_lacks_only_its_end_is_completed(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": 2}')
    mend_last_line(path)
    assert path.read_bytes() == b'{"a": 1}\n{"b": 2}\n'


def test_a_damaged_line_inside_is_named_and_nothing_is_touched(tmp_path):
    with ResponseStore(tmp_path, SETTINGS) as store:
        for number in range(3):
            store.add(f"r{number}", response("x"))
        (path,) = store.path.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:30] + b"\n" + lines[2])
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"jsonl:2: is damaged .*; delete that line"):
        ResponseStore(tmp_path, SETTINGS)
    assert path.read_bytes() == before


def test_an_answer_counts_whatever_fails_after_it_and_both_are_kept(tmp_path):
    with ResponseStore(tmp_path, SETTINGS) as store:
        store.add("r", response("", failure="transport", detail="broke", raw=None))
        store.add("r", response("cut off", failure="length"))
        store.add("r", response("", failure="transport", detail="broke again", raw=None))
        (path,) = store.path.glob("*.jsonl")
        assert store.get("r").text == "cut off"
    with ResponseStore(tmp_path, SETTINGS) as again:
        assert again.get("r").text == "cut off" and path.read_text().count("\n") == 3


def test_a_full_shard_is_followed_by_the_next(tmp_path):
    for number in range(6):
        with ResponseStore(tmp_path, SETTINGS, shard_bytes=600) as store:
            store.add(f"r{number}", response("x" * 300))
    with ResponseStore(tmp_path, SETTINGS) as store:
        assert [store.get(f"r{number}").text for number in range(6)] == ["x" * 300] * 6
        assert len(list(store.path.glob("*.jsonl"))) > 1


def test_one_process_writes_at_a_time_and_the_other_learns_who(tmp_path):
    with ResponseStore(tmp_path, SETTINGS):
        with pytest.raises(InputError, match=rf"is being written by process {os.getpid()} on host"):
            ResponseStore(tmp_path, SETTINGS)
        with ResponseStore(tmp_path, SETTINGS | {"seed": 1}):
            pass
    ResponseStore(tmp_path, SETTINGS).close()


def test_a_full_disk_leaves_no_half_line(tmp_path):
    """In a process that may write little: the next line would be spoilt by half of this one."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from rl_distill.curation.store import ResponseStore\n"
        "from rl_distill.curation.teacher import Response\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = ResponseStore(Path(sys.argv[1]), {})\n"
        "make = lambda size: Response(row_key='k', problem_id='p', seed=0, max_tokens=1, text='x' * size)\n"
        "store.add('small', make(10))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try:\n    store.add('large', make(9000))\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
        "store.add('small again', make(10))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(RunError.__name__) and "could not be stored" in done.stdout
    with ResponseStore(tmp_path, {}) as store:
        assert store.get("small") and store.get("small again") and not store.get("large")


def test_explain_names_the_nearest_run_and_what_changed(tmp_path):
    assert str(explain(tmp_path, SETTINGS)) == "nothing is stored yet"
    far = json.loads(json.dumps(SETTINGS)) | {"seed": 5, "system_prompt": "Be brief.", "teacher": {"model": "n"}}
    for settings in (SETTINGS, far):
        ResponseStore(tmp_path, settings).close()
    assert explain(tmp_path, SETTINGS).differences == ()
    now = json.loads(json.dumps(SETTINGS))
    now["sampling"]["temperature"] = 0.6
    found = explain(tmp_path, now)
    assert found.differences == (("sampling.temperature", 1.0, 0.6),)
    assert str(found).endswith("sampling.temperature was 1.0 and is 0.6")
