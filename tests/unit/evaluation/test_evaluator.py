import pytest

from rl_distill.errors import RunError
from rl_distill.evaluation.evaluator import result_to_dict, summarize
from rl_distill.trajectory import Group, Message, Problem, Score, Trajectory, Verdict


def attempt(status, tokens=4, finish_reason="stop"):
    verdict = None if status is None else Verdict(status=status, method="rule")
    return Trajectory(
        problem_id="p",
        messages=(Message("assistant", "4"),),
        token_ids=(1,) * (tokens + 2),
        sampled=(False, False) + (True,) * tokens,
        model="m",
        origin="policy",
        finish_reason=finish_reason,
        score=Score(value=None, verdict=verdict),
    )


def group(name, *attempts):
    return Group(problem=Problem(id=name, prompt="2 + 2 = ?", answer="4", source="s"), trajectories=attempts)


def test_accuracy_is_the_mean_over_problems_of_their_verified_attempts():
    result = summarize(
        [
            group("all right", attempt("correct"), attempt("correct")),
            group("half", attempt("correct"), attempt("wrong")),
            group("one known", attempt("unverifiable"), attempt("correct")),
            group("unknown", attempt("unverifiable"), attempt("unverifiable")),
        ]
    )
    assert result.problem_accuracy == {"all right": 1.0, "half": 0.5, "one known": 1.0}
    assert result.accuracy.mean == pytest.approx(2.5 / 3) and result.num_problems == 3
    assert result.unverifiable == 3 and result.num_samples == 2


def test_an_unverifiable_attempt_is_neither_right_nor_wrong():
    known = [attempt("correct"), attempt("wrong"), attempt("wrong")]
    without = summarize([group("p", *known), group("q", attempt("correct"))])
    with_one = summarize([group("p", *known, attempt("unverifiable")), group("q", attempt("correct"), attempt("unverifiable"))])
    assert without.accuracy == with_one.accuracy


def test_tokens_and_truncation_count_every_attempt():
    result = summarize(
        [group("p", attempt("wrong", 10, "length"), attempt("unverifiable", 2)), group("q", attempt("correct", 3))]
    )
    assert (result.generated_tokens, result.mean_tokens, result.truncated_fraction) == (15, 5.0, 1 / 3)


def test_an_evaluation_without_any_verified_attempt_is_a_failure_and_not_a_zero():
    with pytest.raises(RunError, match="none of 2 attempts could be verified"):
        summarize([group("p", attempt("unverifiable"), attempt(None))])


def test_metrics_and_the_record_say_the_same():
    result = summarize([group("p", attempt("correct")), group("q", attempt("wrong"))])
    plain = result_to_dict(result)
    assert plain["accuracy"] == result.metrics()["evaluation/accuracy"] == 0.5
    assert (plain["low"], plain["high"]) == (result.metrics()["evaluation/low"], result.metrics()["evaluation/high"])
    assert plain["problem_accuracy"] == {"p": 1.0, "q": 0.0}


def test_pass_at_k_goes_as_far_as_every_problem_has_verified_attempts():
    mixed = [attempt("correct"), attempt("wrong"), attempt("wrong"), attempt("wrong")]
    result = summarize([group("p", *mixed), group("q", *[attempt("wrong")] * 4)])
    assert result.pass_at == {1: pytest.approx(0.125), 2: pytest.approx(0.25), 4: pytest.approx(0.5)}
    one_unknown = summarize([group("p", *mixed), group("q", *[attempt("wrong")] * 3, attempt("unverifiable"))])
    assert set(one_unknown.pass_at) == {1, 2}
