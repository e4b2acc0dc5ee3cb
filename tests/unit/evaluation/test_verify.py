"""Grading a file: the same rows with two columns more, whole or not at all."""

import json
from pathlib import Path

import pytest

from rl_distill.errors import InputError
from rl_distill.evaluation.verify import verify_file

LINES = [
    '{"id": 1, "answer": "4", "response": "\\\\boxed{4}", "big": 12345678901234567890123, "x": 1.10}',
    '{"response": "no box: \u00e9\u2028", "answer": "4"}',
    "",
    '{"answer": null, "response": "\\\\boxed{4}"}',
    '{"answer": 4, "response": "\\\\boxed{5}" }',
]


def test_rows_keep_their_order_and_text_and_gain_two_columns(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    assert verify_file(source, out) == {"correct": 1, "wrong": 2, "unverifiable": 1}
    written = out.read_text(encoding="utf-8").split("\n")[:-1]
    assert written[0] == LINES[0][:-1] + ', "verdict": "correct", "method": "exact"}'
    found = [(row.pop("verdict"), row.pop("method"), row) for row in map(json.loads, written)]
    assert [row for _, _, row in found] == [json.loads(line) for line in LINES if line]
    assert [(verdict, method) for verdict, method, _ in found] == [
        ("correct", "exact"),
        ("wrong", "no_boxed"),
        ("unverifiable", "no_gold"),
        ("wrong", "number"),
    ]


def test_file_can_be_replaced_by_its_graded_self(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(LINES[0])
    verify_file(path, path)
    assert json.loads(path.read_text())["verdict"] == "correct"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: is not JSON"),
        ("[1]", "line 2: is not a JSON object"),
        ('{"answer": "4"}', "line 2: has no 'response'"),
        ('{"response": "4"}', "line 2: has no 'answer'"),
        ('{"answer": 4.5, "response": ""}', "line 2: has an `answer` of type float"),
        ('{"answer": true, "response": ""}', "line 2: has an `answer` of type bool"),
        ('{"answer": "4", "response": null}', "line 2: has a `response` of type NoneType"),
        ('{"answer": "4", "response": "", "verdict": 1}', "line 2: already has a column 'verdict'"),
    ],
)
def test_bad_row_is_named_by_its_line_and_nothing_is_written(line: str, message: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f"{LINES[0]}\n{line}\n")
    with pytest.raises(InputError, match=message):
        verify_file(source, out)
    assert list(tmp_path.iterdir()) == [source]


def test_files_that_cannot_be_used_are_input_errors(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"answer": "\xe9"}')
    with pytest.raises(InputError, match="cannot be read"):
        verify_file(tmp_path / "missing.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="is not UTF-8"):
        verify_file(tmp_path / "latin.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="does not exist"):
        verify_file(tmp_path / "latin.jsonl", tmp_path / "nowhere" / "out.jsonl")
