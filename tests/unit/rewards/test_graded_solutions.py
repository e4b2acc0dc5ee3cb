"""The grader against the published grades of real models' answers.

Reads the folder named by RL_DISTILL_DATA. Both sets were graded by others, MATH samples from an extracted answer, GSM8K solutions
by their final number.
"""

import json
import os
from pathlib import Path

import pytest

from rl_distill.rewards import Accuracy
from rl_distill.rewards.answers import boxed_answer

DATA = os.environ.get("RL_DISTILL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RL_DISTILL_DATA names no folder with graded solutions")
ACCURACY = Accuracy(deadline=20)


def rows(name: str) -> list[dict]:  # type: ignore[type-arg]
    with (Path(DATA or "") / name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_math_samples_agree_but_for_one_gold_answer_that_the_reference_cut_short() -> None:
    graded = [
        (row["gold"], sample["text"], sample["correct"])
        for row in rows("math_sampled_solutions.jsonl")
        for sample in row["samples"]
    ]
    verdicts = ACCURACY.grade([(gold, text) for gold, text, _ in graded])
    assert len(graded) == 480
    assert not [verdict for verdict in verdicts if verdict.status == "unverifiable"]
    disagreements = {
        (gold, boxed_answer(text), verdict.status)
        for verdict, (gold, text, correct) in zip(verdicts, graded, strict=True)
        if (verdict.status == "correct") != correct
    }
    # The reference extracted "4:30" and so failed all eight samples; the answer is right.
    assert disagreements <= {(r"\text{4:30 p.m.}", r"4:30 \text{ p.m.}", "correct")}


def test_gsm8k_solutions_agree_in_every_case() -> None:
    pairs, grades = [], []
    for row in rows("gsm8k_model_solutions.jsonl"):
        gold = row["ground_truth"].rpartition("A:")[2].strip()
        for solution in row["solutions"]:
            steps, marker, answer = solution["text"].rpartition("A:")
            pairs.append((gold, rf"{steps}\boxed{{{answer.strip()}}}" if marker else solution["text"]))
            grades.append("correct" if solution["is_correct"] else "wrong")
    assert len(pairs) == 3600
    assert [verdict.status for verdict in ACCURACY.grade(pairs)] == grades
