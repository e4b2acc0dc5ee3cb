"""A user's own file of problems."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.problems.jsonl import Jsonl
from rl_distill.records import group_to_dict


def file_with(folder: Path, *rows: object) -> str:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_default_columns_are_prompt_answer_and_id_and_the_rest_is_metadata(tmp_path: Path) -> None:
    (group,) = Jsonl(path=file_with(tmp_path, {"id": 7, "prompt": "1+1?", "answer": 2.0, "topic": "sums"})).groups()
    problem = group.problem
    assert (problem.id, problem.prompt, problem.answer, problem.source) == ("7", "1+1?", "2", "mine")
    assert problem.metadata == {"topic": "sums"} and group.trajectories == ()


def test_columns_can_be_named_and_left_out(tmp_path: Path) -> None:
    path = file_with(tmp_path, {"q": "1+1?", "gold": "2"}, {"q": "2+2?", "gold": "4"})
    named = Jsonl(path=path, prompt_column="q", answer_column="gold", id_column=None).groups()
    assert [(group.problem.id, group.problem.answer) for group in named] == [("row-1", "2"), ("row-2", "4")]
    unknown = Jsonl(path=path, prompt_column="q", answer_column=None, id_column=None).groups()
    assert unknown[0].problem.answer is None and unknown[0].problem.metadata == {"gold": "2"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "answer": "2"}, "line 2: has no column 'prompt'"),
        ({"id": 1, "prompt": " ", "answer": "2"}, "line 2, column 'prompt'"),
        ({"id": 1, "prompt": "?", "answer": ""}, "line 2, column 'answer'"),
        ({"prompt": "?", "answer": "2"}, "line 2: has no column 'id'"),
        ({"id": None, "prompt": "?", "answer": "2"}, "line 2, column 'id'"),
        ({"id": 0, "prompt": "?", "answer": "2"}, "two problems have the id '0'"),
    ],
)
def test_a_bad_row_is_an_input_error_that_names_it(tmp_path: Path, row: dict[str, object], message: str) -> None:
    path = file_with(tmp_path, {"id": 0, "prompt": "?", "answer": "1"}, row)
    with pytest.raises(InputError, match=message):
        Jsonl(path=path).groups()


def test_the_path_is_required() -> None:
    with pytest.raises(InputError, match="path: is missing"):
        parse(Jsonl, {})


def test_a_column_that_json_has_no_kind_for_can_be_written_again(tmp_path: Path) -> None:
    """A benchmark's samples hold its problems with all of their columns."""
    import pyarrow
    import pyarrow.parquet

    rows = [{"prompt": "1 + 1 = ?", "answer": "2", "id": 7, "asked": datetime(2026, 1, 2), "level": 3}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (group,) = Jsonl(path=str(tmp_path / "rows.parquet")).groups()
    assert group.problem.metadata == {"asked": "2026-01-02 00:00:00", "level": 3}
    assert json.loads(json.dumps(group_to_dict(group)))["problem"]["metadata"] == group.problem.metadata
