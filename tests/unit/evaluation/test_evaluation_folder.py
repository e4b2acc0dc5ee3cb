import fcntl
import json

import pytest

from rl_distill.errors import InputError
from rl_distill.evaluation.evaluation_folder import EvaluationFolder, differences
from rl_distill.trajectory import Group, Problem

PROBLEMS = ["a", "b", "c", "d", "e"]


def settings(**changes):
    return {"model": {"weights": "w"}, "seed": 0, "engine": {"name": "hf"}, "benchmarks": {"one": {"num_samples": 2}}} | changes


def group(name):
    return Group(problem=Problem(id=name, prompt="?", answer="4", source="s"))


def add(folder, *names, benchmark="one"):
    samples = folder.samples(benchmark)
    samples.add([group(name) for name in names])
    samples.close()


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    EvaluationFolder(tmp_path, settings()).close()
    with (tmp_path / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="is in use by another process"):
            EvaluationFolder(tmp_path, settings())
    EvaluationFolder(tmp_path, settings()).close()


def test_settings_under_which_nothing_was_asked_bind_nobody(tmp_path):
    EvaluationFolder(tmp_path, settings()).close()
    folder = EvaluationFolder(tmp_path, settings(seed=1))
    add(folder, "a")
    folder.close()
    with pytest.raises(InputError, match="seed is 1 there and 2 here"):
        EvaluationFolder(tmp_path, settings(seed=2))


def test_whole_shards_are_kept_and_the_rest_goes(tmp_path):
    folder = EvaluationFolder(tmp_path, settings())
    add(folder, "a", "b", "c")
    samples = folder.samples("one")
    assert samples.kept(PROBLEMS, 0, 2) == [group("a"), group("b")]
    samples.add([group("c"), group("d")])
    assert samples.kept(PROBLEMS, 0, 2) == [group(name) for name in "abcd"]
    samples.add([group("e")])
    assert samples.kept(PROBLEMS, 0, 2) == [group(name) for name in PROBLEMS]


@pytest.mark.parametrize("line", ['{"problem": 3}', "{", json.dumps({"no": "group"})])
def test_a_file_of_something_else_is_refused_and_left_as_it_is(line, tmp_path):
    folder = EvaluationFolder(tmp_path, settings())
    path = tmp_path / "samples" / "one.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match="this is not the file that the evaluation wrote"):
        folder.samples("one").kept(PROBLEMS, 0, 1)
    assert path.read_text() == line + "\n"


def test_problems_in_another_order_are_refused(tmp_path):
    folder = EvaluationFolder(tmp_path, settings())
    add(folder, "b", "a")
    with pytest.raises(InputError, match="this is not the file that the evaluation wrote"):
        folder.samples("one").kept(PROBLEMS, 0, 2)


def test_differences_name_every_key_and_no_benchmark_that_only_one_side_has():
    before = settings(engine={"name": "hf", "dtype": "float32"})
    now = settings(engine={"name": "hf", "dtype": "bfloat16"}, benchmarks={"one": {"num_samples": 3}, "two": {}})
    found = dict((key, (then, other)) for key, then, other in differences(before, now))
    assert found == {"engine.dtype": ("float32", "bfloat16"), "benchmarks.one.num_samples": (2, 3)}
