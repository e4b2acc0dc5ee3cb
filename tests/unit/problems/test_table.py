import json

import pytest

from rl_distill.errors import InputError
from rl_distill.problems.table import Table


def table(tmp_path, *rows, **keys):
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Table(path=str(path), data_file="set.jsonl", **keys)


def problems(*arguments, **keys):
    return [group.problem for group in table(*arguments, **keys).groups()]


def test_copies_that_name_their_columns_otherwise_give_the_same_problems(tmp_path):
    one = problems(tmp_path, {"id": 3, "problem": "2 + 2?", "answer": 4.0})
    other = problems(tmp_path, {"id": 3, "question": "2 + 2?", "answer": "4"})
    assert one == other and one[0].answer == "4" and one[0].id == "set-3"


def test_without_an_answer_column_the_last_box_of_the_solution_is_the_gold_answer(tmp_path):
    row = {"idx": 7, "problem": "?", "solution": r"first \boxed{1}, then \boxed{\frac{1}{2}}"}
    (problem,) = problems(tmp_path, row, solution_column="solution", id_columns=("idx",))
    assert (problem.answer, problem.id) == (r"\frac{1}{2}", "set-7")


def test_a_list_of_one_answer_is_that_answer_and_rows_without_an_id_are_numbered(tmp_path):
    found = problems(
        tmp_path,
        {"question": "a", "final_answer": ["$1,2$"]},
        {"question": "b", "final_answer": ["3"]},
        answer_columns=("final_answer",),
    )
    assert [(problem.id, problem.answer) for problem in found] == [("set-0", "$1,2$"), ("set-1", "3")]


@pytest.mark.parametrize("gold", ["", "  ", None, []])
def test_a_row_without_a_gold_answer_is_named(gold, tmp_path):
    with pytest.raises(InputError, match=r"set.jsonl line 2, column 'answer': has no gold answer"):
        problems(tmp_path, {"problem": "a", "answer": "1"}, {"problem": "b", "answer": gold})


def test_two_gold_answers_and_a_missing_column_are_refused(tmp_path):
    with pytest.raises(InputError, match="lists 2 answers"):
        problems(tmp_path, {"problem": "a", "answer": ["1", "2"]})
    with pytest.raises(InputError, match="has no column 'answer'; it has problem, gold"):
        problems(tmp_path, {"problem": "a", "gold": "1"})
    with pytest.raises(InputError, match="column 'solution': has no gold answer"):
        problems(tmp_path, {"problem": "a", "solution": "no box"}, solution_column="solution")
