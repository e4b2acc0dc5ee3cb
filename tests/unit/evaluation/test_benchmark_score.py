import json
import os
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean

import pytest

from rl_distill.errors import InputError, RunError
from rl_distill.evaluation.benchmark_score import attempt_numbers, score, score_from_dict, score_to_dict
from rl_distill.problems.graded_samples import GradedSamples
from rl_distill.rewards import Accuracy, UnitTests, WeightedRewards, score_groups
from rl_distill.trajectory import Group, Message, Problem, Score, Trajectory, Verdict

DATA = os.environ.get("RL_DISTILL_DATA")


def attempt(status, response="", tokens=3, finish_reason="stop"):
    return Trajectory(
        problem_id="p",
        messages=(Message("assistant", response),),
        token_ids=(1,) * tokens,
        sampled=(True,) * tokens,
        model="m",
        origin="policy",
        finish_reason=finish_reason,
        score=Score(value=None, verdict=Verdict(status=status, method="rule")),
    )


def group(name, *attempts):
    return Group(problem=Problem(id=name, prompt="?", answer="4", source="s"), trajectories=attempts)


def wrong(answer):
    return attempt("wrong", rf"\boxed{{{answer}}}")


def test_the_numbers_of_attempts_are_powers_of_two_and_all():
    assert attempt_numbers(12) == (1, 2, 4, 8, 12)
    assert attempt_numbers(8) == (1, 2, 4, 8) and attempt_numbers(1) == (1,)
    assert attempt_numbers(8, [5, 1, 5]) == (1, 5)


@pytest.mark.parametrize("k", [0, 9, -1])
def test_a_k_beyond_the_samples_is_refused_by_its_name(k):
    with pytest.raises(InputError, match=rf"--k: {k} is not in 1\.\.8"):
        attempt_numbers(8, [1, k])


def test_a_majority_counts_spellings_of_one_wrong_answer_together_and_all_right_ones():
    right = [attempt("correct", r"\boxed{4}"), attempt("correct", r"\boxed{\frac{8}{2}}")]
    beaten = group("p", *right, wrong("5"), wrong("5.0"), wrong("$5$"))
    assert score([beaten], Accuracy(), [5]).majority_at == {5: 0.0}
    scattered = group("p", *right, wrong("5"), wrong("6"), attempt("wrong", "no box"))
    assert score([scattered], Accuracy(), [5]).majority_at == {5: 1.0}
    tied = group("p", *right, wrong("5"), wrong("5"))
    assert score([tied], Accuracy(), [4]).majority_at == {4: 0.5}


def test_unverifiable_attempts_are_in_no_mean_and_what_they_leave_unknown_is_said():
    groups = [
        group("known", attempt("correct"), attempt("wrong")),
        group("half known", attempt("correct"), attempt("unverifiable")),
        group("unknown", attempt("unverifiable"), attempt("unverifiable")),
    ]
    found = score(groups, Accuracy(), [1, 2])
    assert (found.num_problems, found.num_judged, found.unverifiable) == (3, 2, 3)
    assert found.pass_at == {1: 0.75, 2: None} and found.majority_at == {1: 0.75, 2: None}
    assert found.accuracy.mean == 0.75
    with pytest.raises(RunError, match="none of 2 attempts"):
        score(groups[2:], Accuracy(), [1])


def test_where_answers_cannot_be_told_apart_there_is_no_majority():
    assert score([group("p", attempt("correct"))], UnitTests(), [1]).majority_at == {1: None}


def test_a_score_comes_back_from_json():
    found = score([group("p", attempt("correct"), wrong("5")), group("q", wrong("猫"), attempt("wrong", ""))], Accuracy(), [1, 2])
    assert score_from_dict(json.loads(json.dumps(score_to_dict(found)))) == found


def test_an_empty_response_one_of_a_million_tokens_and_other_scripts_are_graded():
    problem = Problem(id="p", prompt="?", answer="12", source="s")
    responses = {
        "": "wrong",
        "wait " * 10**6: "wrong",
        "\\boxed{" * 10**5 + "12": "wrong",
        "{" * 10**6 + r"\boxed{12}": "correct",
        r"\boxed{" + "1" * 10**6 + "}": "wrong",
        r"所以答案是 \boxed{12}。": "correct",
        r"следовательно \boxed{12 яблок}": None,
        r"الجواب \boxed{١٢}": None,
    }
    attempts = [replace(attempt("wrong", text), problem_id="p", score=None) for text in responses]
    (graded,) = score_groups([Group(problem=problem, trajectories=tuple(attempts))], WeightedRewards((Accuracy(),)))
    for one, expected in zip(graded.trajectories, responses.values(), strict=True):
        assert one.status in ((expected,) if expected else ("correct", "wrong", "unverifiable"))
    assert score([graded], Accuracy(), [1]).num_judged == 1


@pytest.fixture(scope="module")
def real():
    """Eight real samples for each of 60 MATH problems: with the published grades, and with ours."""
    if not DATA:
        pytest.skip("RL_DISTILL_DATA names no folder with graded solutions")
    published = list(GradedSamples(path=str(Path(DATA) / "math_sampled_solutions.jsonl")).groups())
    return published, score_groups(published, WeightedRewards((Accuracy(deadline=20),)))


def test_real_samples_score_as_published_but_for_one_problem(real):
    published, ours = real
    one, other = score(published, Accuracy(), [1, 8]), score(ours, Accuracy(), [1, 8])
    differing = [name for name, mean in one.problem_accuracy.items() if other.problem_accuracy[name] != mean]
    assert len(differing) <= 1 and other.unverifiable == 0
    assert other.accuracy.mean == pytest.approx(one.accuracy.mean, abs=1.01 / 60)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 8])
def test_pass_and_majority_of_real_samples_are_the_means_over_all_subsets(k, real):
    _, ours = real
    grader = Accuracy()
    found = score(ours, grader, [k])
    passed, voted = [], []
    for one in ours:
        answers = ["right" if t.status == "correct" else grader.stated_answer(t.response) for t in one.trajectories]
        drawn = list(combinations(answers, k))
        passed.append(fmean("right" in some for some in drawn))
        voted.append(fmean(map(share_of_right, drawn)))
    assert found.pass_at[k] == pytest.approx(fmean(passed))
    assert found.majority_at[k] == pytest.approx(fmean(voted))


def share_of_right(answers):
    votes = Counter(answer for answer in answers if answer is not None)
    leaders = [answer for answer, count in votes.items() if count == max(votes.values())]
    return 1 / len(leaders) if "right" in leaders else 0.0
