"""Graded samples keep their labels, and a row that cannot be read is named."""

import json

import pytest

from rl_distill.errors import InputError
from rl_distill.problems.graded_samples import GradedSamples

ROW = {
    "question": "1 + 1?",
    "gold": "2",
    "level": 3,
    "samples": [{"text": "two", "correct": True}, {"text": "3", "correct": False}],
}


def write(folder, row):
    path = folder / "samples.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return str(path)


def test_attempts_have_the_labels_of_the_file(tmp_path):
    (group,) = GradedSamples(path=write(tmp_path, ROW), model="m").groups()
    assert (group.problem.id, group.problem.answer, group.problem.metadata) == ("samples-1", "2", {"level": 3})
    assert [(attempt.response, attempt.status, attempt.model) for attempt in group.trajectories] == [
        ("two", "correct", "m"),
        ("3", "wrong", "m"),
    ]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ("two", "no list of samples"),
        ([{"text": "two", "correct": "yes"}], "give true or false"),
        ([{"correct": True}], "no column 'text'"),
    ],
)
def test_a_row_of_another_shape_is_named(samples, message, tmp_path):
    with pytest.raises(InputError, match=message):
        GradedSamples(path=write(tmp_path, ROW | {"samples": samples})).groups()
