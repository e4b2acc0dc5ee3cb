"""Data in TRL's formats."""

import json
from pathlib import Path

import pytest

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.problems.trl_rows import TrlRows
from rl_distill.trajectory import Group, Message

USER, OTHER = {"role": "user", "content": "1+1?"}, {"role": "user", "content": "2+2?"}
GOOD, BAD = {"role": "assistant", "content": "2"}, {"role": "assistant", "content": "3"}
SYSTEM = {"role": "system", "content": "Be short."}


def groups(folder: Path, *rows: object) -> list[Group]:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(TrlRows(path=str(path)).groups())


@pytest.mark.parametrize("prompt", ["1+1?", [USER]])
def test_a_prompt_alone_is_a_problem_without_attempts(tmp_path: Path, prompt: object) -> None:
    (group,) = groups(tmp_path, {"prompt": prompt})
    assert (group.problem.prompt, group.problem.answer, group.trajectories) == ("1+1?", None, ())


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1+1?", "completion": "2"},
        {"prompt": [USER], "completion": [GOOD]},
        {"prompt": [USER], "completion": "2"},
        {"messages": [USER, GOOD]},
    ],
)
def test_a_completion_is_one_correct_attempt(tmp_path: Path, row: dict[str, object]) -> None:
    (group,) = groups(tmp_path, row)
    (attempt,) = group.trajectories
    assert group.problem.prompt == "1+1?"
    assert attempt.messages == (Message("user", "1+1?"), Message("assistant", "2"))
    assert (attempt.status, attempt.score.verdict.method, attempt.origin) == ("correct", "dataset", "teacher")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1+1?", "chosen": "2", "rejected": "3"},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "1+1?", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "1+1?", "chosen": [USER, GOOD], "rejected": [USER, BAD], "messages": [USER, GOOD]},
    ],
)
def test_a_preference_is_a_correct_and_a_wrong_attempt_at_one_problem(tmp_path: Path, row: dict[str, object]) -> None:
    (group,) = groups(tmp_path, row)
    assert group.problem.prompt == "1+1?"
    assert [(attempt.response, attempt.status, attempt.reward) for attempt in group.trajectories] == [
        ("2", "correct", 1.0),
        ("3", "wrong", 0.0),
    ]
    assert all(attempt.messages[:-1] == (Message("user", "1+1?"),) for attempt in group.trajectories)


def test_an_implicit_prompt_is_the_longest_beginning_that_both_share(tmp_path: Path) -> None:
    (group,) = groups(tmp_path, {"chosen": [SYSTEM, USER, GOOD, OTHER, GOOD], "rejected": [SYSTEM, USER, GOOD, OTHER, BAD]})
    assert group.problem.prompt == "2+2?"
    assert [len(attempt.messages) for attempt in group.trajectories] == [5, 5]


def test_an_unwanted_completion_is_a_wrong_attempt(tmp_path: Path) -> None:
    rows = [{"prompt": "1+1?", "completion": "2", "label": True}, {"prompt": "1+1?", "completion": "3", "label": False}]
    assert [group.trajectories[0].status for group in groups(tmp_path, *rows)] == ["correct", "wrong"]


@pytest.mark.parametrize(
    ("columns", "gold"),
    [({"answer": "2"}, "2"), ({"solution": 2}, "2"), ({"answer": "2", "solution": "x"}, "2"), ({"answer": None}, None)],
)
def test_the_gold_answer_comes_from_answer_or_solution(tmp_path: Path, columns: dict[str, object], gold: str | None) -> None:
    assert groups(tmp_path, {"prompt": "1+1?", **columns})[0].problem.answer == gold


def test_the_answer_column_can_be_named_and_must_then_be_there(tmp_path: Path) -> None:
    groups(tmp_path, {"prompt": "1+1?", "gold": "2"})
    path = str(tmp_path / "mine.jsonl")
    assert TrlRows(path=path, answer_column="gold").groups()[0].problem.answer == "2"
    with pytest.raises(InputError, match="line 1: has no column 'label_text'"):
        TrlRows(path=path, answer_column="label_text").groups()


def test_rows_with_the_same_prompt_are_problems_of_their_own(tmp_path: Path) -> None:
    ids = [group.problem.id for group in groups(tmp_path, {"prompt": "1+1?"}, {"prompt": "1+1?"})]
    assert ids == ["mine-1", "mine-2"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "plain"}, "has only the columns"),
        ({"prompt": ""}, "column 'prompt'"),
        ({"prompt": "1+1?", "chosen": "2"}, "column 'rejected': is missing or empty"),
        ({"prompt": "1+1?", "chosen": "2", "rejected": None}, "column 'rejected': is missing or empty"),
        ({"prompt": "1+1?", "chosen": "2", "rejected": "2 \n"}, "are the same"),
        ({"prompt": "1+1?", "chosen": "2", "rejected": "2"}, "are the same"),
        ({"chosen": "1+1? 2", "rejected": "1+1? 3"}, "do not say where the prompt ends"),
        ({"chosen": [USER, GOOD], "rejected": [OTHER, BAD]}, "is not the prompt"),
        ({"prompt": [OTHER], "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "is not the prompt"),
        ({"messages": [USER]}, "ends in a turn of the user"),
        ({"messages": [GOOD]}, "no user turn"),
        ({"messages": []}, "list of messages"),
        ({"messages": [{"role": "tool", "content": "x"}, GOOD]}, "give a `role`"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, GOOD]}, "text as `content`"),
        ({"prompt": "1+1?", "completion": "2", "label": 1}, "column 'label'"),
        ({"prompt": [SYSTEM, USER]}, "cannot be rolled out"),
    ],
)
def test_a_bad_row_is_an_input_error_with_its_line(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"line 2.*{message}"):
        groups(tmp_path, {"prompt": "fine"}, row)


@pytest.mark.parametrize("tree", [{}, {"path": "a.jsonl", "dataset": "a/b"}])
def test_a_set_comes_from_exactly_one_place(tree: dict[str, str]) -> None:
    with pytest.raises(InputError, match="either `path`"):
        parse(TrlRows, tree)
