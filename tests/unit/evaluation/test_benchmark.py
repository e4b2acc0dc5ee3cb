import json
import os
from pathlib import Path

import pytest
import yaml

from rl_distill.config import dump, parse
from rl_distill.errors import InputError
from rl_distill.evaluation.benchmark import Benchmark, benchmark_names, load_benchmark
from rl_distill.problems.rows import DATA_FOLDER

FILES = {
    "math500": "math500.jsonl",
    "aime24": "aime24.jsonl",
    "aime25": "aime25.jsonl",
    "amc23": "amc23.jsonl",
    "minerva": "minerva.jsonl",
    "olympiadbench": "olympiadbench.jsonl",
    "gsm8k": "gsm8k_test.jsonl",
    "gpqa_diamond": "gpqa_diamond.jsonl",
}


def own(tmp_path, *rows, **changes):
    """A benchmark of one's own, on rows of {id, prompt, answer}."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tree = {
        "name": "own",
        "version": 1,
        "about": "a",
        "source": "s",
        "license": "l",
        "problems": {"name": "jsonl", "path": str(data)},
        "sampling": {"max_tokens": 8},
        "num_samples": 2,
        "grader": {"name": "accuracy"},
    }
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(tree | changes))
    return path


ROWS = ({"id": 1, "prompt": "1 + 1 = ?", "answer": "2"}, {"id": 2, "prompt": "1 + 2 = ?", "answer": "3"})


@pytest.mark.parametrize("name", benchmark_names())
def test_every_benchmark_loads_strictly_and_says_where_it_is_from(name):
    found = load_benchmark(name)
    assert found.name == name and found.version >= 1 and found.published_sizes
    assert found.about and found.source and found.license
    assert parse(Benchmark, dump(found)) == found


def test_the_field_s_benchmarks_and_the_micro_world_are_there():
    assert set(benchmark_names()) == {*FILES, "arithmetic"}


@pytest.mark.parametrize("name", FILES)
def test_every_problem_of_a_local_file_has_a_gold_answer_and_an_id_of_its_own(name):
    folder = os.environ.get(DATA_FOLDER)
    if not folder or not (Path(folder) / FILES[name]).is_file():
        pytest.skip(f"{FILES[name]} is not here")
    benchmark = load_benchmark(name)
    groups = benchmark.groups()
    assert len(groups) in benchmark.published_sizes
    assert len({group.problem.id for group in groups}) == len(groups)
    assert all(group.problem.answer and group.problem.answer.strip() for group in groups)
    assert not any(group.trajectories for group in groups)


def test_the_digest_moves_with_everything_that_decides_scores_and_with_nothing_else(tmp_path):
    def digest(*rows, **changes):
        found = load_benchmark(own(tmp_path, *(rows or ROWS), **changes))
        return found.digest(found.groups())

    same = digest()
    assert digest(*reversed(ROWS)) == digest(about="other words") == digest(num_samples=9) == same
    assert digest(grader={"name": "accuracy", "workers": 7}) == same
    changed = [
        digest(version=2),
        digest(prompt={"instruction": "Think."}),
        digest(sampling={"max_tokens": 8, "temperature": 0.6}),
        digest(grader={"name": "accuracy", "deadline": 1.0}),
        digest(ROWS[0], {**ROWS[1], "answer": "4"}),
        digest(ROWS[0], {**ROWS[1], "prompt": "1 + 3 = ?"}),
        digest(ROWS[0]),
    ]
    assert len({same, *changed}) == len(changed) + 1


def test_a_problem_without_a_gold_answer_is_named(tmp_path):
    with pytest.raises(InputError, match="benchmark 'own': rows.jsonl line 2, column 'answer'"):
        load_benchmark(own(tmp_path, ROWS[0], {**ROWS[1], "answer": ""})).groups()
    problems = {"name": "jsonl", "path": str(tmp_path / "rows.jsonl"), "answer_column": None}
    with pytest.raises(InputError, match="benchmark 'own': problem '1' has no gold answer"):
        load_benchmark(own(tmp_path, *ROWS, problems=problems)).groups()


def test_a_set_of_another_size_than_the_published_one_is_refused(tmp_path):
    with pytest.raises(InputError, match="2 problems with a gold answer were found, and version 1 has 83"):
        load_benchmark(own(tmp_path, *ROWS, published_sizes=[83])).groups()


def test_a_part_of_the_problems_is_the_first_of_them_and_no_more_than_there_are(tmp_path):
    benchmark = load_benchmark(own(tmp_path, *ROWS))
    assert [group.problem.id for group in benchmark.groups(1)] == ["1"]
    with pytest.raises(InputError, match="--problems: is 3, and benchmark 'own' has 2"):
        benchmark.groups(3)


def test_an_unknown_name_gets_a_suggestion_and_an_unknown_key_too(tmp_path):
    with pytest.raises(InputError, match="did you mean 'aime24'.*choose from aime24, aime25"):
        load_benchmark("aime_24")
    with pytest.raises(InputError, match="did you mean 'num_samples'"):
        load_benchmark(own(tmp_path, *ROWS, num_sample=3))
    with pytest.raises(InputError, match="--benchmark-file: there is no file"):
        load_benchmark(tmp_path / "nothing.yaml")


def test_a_grader_that_weighs_what_is_only_counted_is_refused(tmp_path):
    with pytest.raises(InputError, match="grader: correct, wrong and weight have no effect here"):
        load_benchmark(own(tmp_path, *ROWS, grader={"name": "accuracy", "weight": 2.0}))


@pytest.mark.parametrize("name", ["amc23", "gpqa_diamond", "math500"])
def test_without_a_data_folder_and_a_network_one_line_says_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setenv(DATA_FOLDER, str(tmp_path))
    with pytest.raises(InputError) as refusal:
        load_benchmark(name).groups()
    text = str(refusal.value)
    assert text.startswith(f"benchmark '{name}': data set ") and "\n" not in text
    assert f"a folder with '{FILES[name]}' in the environment variable RL_DISTILL_DATA" in text
