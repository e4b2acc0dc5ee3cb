"""Reading rows: where they are looked for, and what a user is told when they are not there or broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rl_distill.errors import InputError
from rl_distill.problems.rows import HubDataset, Row, read_rows


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_json_lines_json_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"prompt": "π?", "turns": [{"role": "user"}]}, {"prompt": "2", "turns": []}]
    write(tmp_path / "a.jsonl", *rows)
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    for suffix in ("jsonl", "json", "parquet"):
        assert [row.values for row in read_rows(path=str(tmp_path / f"a.{suffix}"))] == rows


def test_an_explicit_path_wins_over_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_DISTILL_DATA", str(tmp_path))
    write(tmp_path / "set.jsonl", {"from": "folder"})
    own = write(tmp_path / "own.jsonl", {"from": "path"})
    assert read_rows(path=str(own), file="set.jsonl")[0].values == {"from": "path"}
    assert read_rows(path=None, file="set.jsonl")[0].values == {"from": "folder"}


def test_blank_lines_are_skipped_and_line_numbers_stay_true(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [row.where for row in read_rows(path=str(path))] == ["a.jsonl line 1", "a.jsonl line 3"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl line 2: is not valid JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl line 1: holds a list"),
        ("a.json", '{"a": 1}', "a.json: holds a dict"),
        ("a.parquet", "no", "not valid Parquet"),
        ("a.csv", "a,b", "is of no known kind"),
    ],
)
def test_a_broken_file_is_an_input_error_that_says_where(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_rows(path=str(tmp_path / name))


def test_a_missing_file_is_an_input_error_even_where_the_data_folder_has_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RL_DISTILL_DATA", str(tmp_path))
    write(tmp_path / "set.jsonl", {"a": 1})
    with pytest.raises(InputError, match="path: there is no file"):
        read_rows(path=str(tmp_path / "typo.jsonl"), file="set.jsonl")


def test_a_file_that_is_not_text_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_rows(path=str(tmp_path / "a.jsonl"))


def test_a_set_that_is_nowhere_names_the_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RL_DISTILL_DATA", raising=False)
    with pytest.raises(InputError, match="'x.jsonl'.*RL_DISTILL_DATA"):
        read_rows(path=None, file="x.jsonl")


def test_without_a_network_the_error_names_path_and_data_folder() -> None:
    """In a process of its own: the hub client reads its offline switch when it is imported."""
    code = (
        "from rl_distill.problems.rows import *\n"
        "from rl_distill.errors import InputError\n"
        "try: read_rows(path=None, file='x.jsonl', hub=HubDataset('nobody/nothing-at-all', 'train'))\n"
        "except InputError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    environment.pop("RL_DISTILL_DATA", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "data set 'nobody/nothing-at-all': cannot be loaded from the hub" in done.stdout
    assert "`path`" in done.stdout and "RL_DISTILL_DATA" in done.stdout


def test_reading_a_file_loads_no_heavy_library(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "1", "answer": 1, "id": 1})
    code = (
        "import sys\n"
        "from rl_distill.problems import PROBLEM_SETS\n"
        f"PROBLEM_SETS['jsonl'](path={str(path)!r}).groups()\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'pyarrow', 'pandas') if name in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("value", "text"), [("7 ", "7"), (27.0, "27"), (27, "27"), (0.5, "0.5"), (None, None), ("", None)])
def test_gold_answers_are_text(value: object, text: str | None) -> None:
    assert Row({"answer": value}, "row 1").answer("answer") == text


@pytest.mark.parametrize("value", [True, [1], {"a": 1}, float("inf"), float("nan")])
def test_an_answer_of_another_type_is_an_input_error(value: object) -> None:
    with pytest.raises(InputError, match="row 1, column 'answer'"):
        Row({"answer": value}, "row 1").answer("answer")


def test_a_missing_column_is_named_with_those_that_exist() -> None:
    with pytest.raises(InputError, match="row 4: has no column 'problem'; it has question, answer"):
        Row({"question": "1", "answer": "2"}, "row 4").text("problem")


def test_hub_rows_are_those_of_the_named_split_subset_and_revision() -> None:
    assert HubDataset("openai/gsm8k", "test", "main", "abc")._asdict() == {
        "name": "openai/gsm8k",
        "split": "test",
        "subset": "main",
        "revision": "abc",
    }
