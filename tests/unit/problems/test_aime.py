"""AIME: which years come from where, and the same problem under the columns of every collection."""

import json
import os
from pathlib import Path

import pytest

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.problems.aime import Aime

needs_data = pytest.mark.skipif("RL_DISTILL_DATA" not in os.environ, reason="RL_DISTILL_DATA names no folder with the real data")


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    "row",
    [
        {"problem": "?", "answer": "025", "year": 2021, "aime_number": 2, "problem_number": 8},
        {"Question": "?", "Answer": "25", "Year": 2021, "Part": "II", "Problem Number": 8, "ID": "2021-II-8"},
        {"problem": "?", "answer": 25, "id": 3, "url": "https://x.com/wiki/index.php/2021_AIME_II_Problems/Problem_8"},
    ],
)
def test_every_layout_gives_the_same_problem(tmp_path: Path, row: dict[str, object]) -> None:
    (group,) = Aime(years=(2021,), path=write(tmp_path / "a.jsonl", row)).groups()
    assert (group.problem.id, group.problem.answer, group.problem.prompt) == ("aime-2021-2-8", "25", "?")
    assert group.problem.metadata == {"year": 2021}


def test_a_collection_of_one_year_may_leave_the_exam_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_DISTILL_DATA", str(tmp_path))
    row = {"problem": "?", "answer": "70", "id": "0"}
    write(tmp_path / "aime25.jsonl", row)
    assert Aime(years=(2025,)).groups()[0].problem.id == "aime-2025-0"
    with pytest.raises(InputError, match="line 1: does not say which exam"):
        Aime(years=(2025,), path=write(tmp_path / "own.jsonl", row)).groups()


def test_years_that_the_file_does_not_have_are_an_input_error(tmp_path: Path) -> None:
    row = {"problem": "?", "answer": "1", "year": 1990, "aime_number": 1, "problem_number": 1}
    with pytest.raises(InputError, match=r"no problems of \[1991\]"):
        Aime(years="1990-1991", path=write(tmp_path / "a.jsonl", row)).groups()


def test_an_answer_that_is_no_integer_is_an_input_error(tmp_path: Path) -> None:
    row = {"problem": "?", "answer": "1/2", "year": 1990, "aime_number": 1, "problem_number": 1}
    with pytest.raises(InputError, match="line 1: answer is '1/2'"):
        Aime(years=(1990,), path=write(tmp_path / "a.jsonl", row)).groups()


@pytest.mark.parametrize("years", [[1982], [], "1983-2030", "soon", "2000-1990"])
def test_years_without_an_exam_are_refused(years: object) -> None:
    with pytest.raises(InputError, match="years"):
        parse(Aime, {"years": years})


@needs_data
def test_the_real_collections_have_all_their_exams() -> None:
    assert len(Aime(years="1983-2023").groups()) == 975
    assert len(Aime(years=(2024,)).groups()) == 30
    assert len(Aime(years="1999-2000").groups()) == 45
    exams = {group.problem.id for group in Aime(years=(2024,)).groups()}
    assert exams == {f"aime-2024-{exam}-{number}" for exam in (1, 2) for number in range(1, 16)}
