import json
from collections import Counter

from rl_distill.problems.gpqa import Gpqa


def gpqa(tmp_path, numbers=range(40), **keys):
    path = tmp_path / "gpqa.jsonl"
    rows = [
        {
            "Question": f"Which is {number}?",
            "Correct Answer": f"right {number}\n",
            **{f"Incorrect Answer {place}": f"wrong {place}" for place in (1, 2, 3)},
            "Record ID": f"rec{number}",
        }
        for number in numbers
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [group.problem for group in Gpqa(path=str(path), **keys).groups()]


def test_the_gold_letter_stands_before_the_right_choice(tmp_path):
    for number, problem in enumerate(gpqa(tmp_path)):
        lines = problem.prompt.split("\n")
        assert f"({problem.answer}) right {number}" in lines
        assert len([line for line in lines if line.startswith("(")]) == 4


def test_the_order_of_choices_is_a_function_of_the_seed_and_favors_no_letter(tmp_path):
    letters = [problem.answer for problem in gpqa(tmp_path)]
    assert letters == [problem.answer for problem in gpqa(tmp_path)]
    assert letters != [problem.answer for problem in gpqa(tmp_path, order_seed=1)]
    assert set(letters) == set("ABCD") and max(Counter(letters).values()) < 20


def test_a_question_keeps_its_order_when_others_go(tmp_path):
    assert gpqa(tmp_path, range(5, 9)) == gpqa(tmp_path)[5:9]
