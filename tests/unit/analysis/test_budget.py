import pytest

from rl_distill.analysis.budget import budget_curve, budget_end, budgets, length_report


def accuracies(curve: list) -> dict[int, float]:
    return {point["budget"]: point["accuracy"] for point in curve}


def test_a_response_that_is_not_finished_within_the_budget_is_wrong(recorded) -> None:
    responses = [
        recorded("", tokens=10, problem="a"),
        recorded("", tokens=30, problem="a"),
        recorded("", "wrong", tokens=5, problem="b"),
        recorded("", "unverifiable", tokens=1, problem="b"),
    ]
    assert accuracies(budget_curve(responses, [9, 10, 29, 30], "tokens")) == {9: 0, 10: 0.25, 29: 0.25, 30: 0.5}


def test_the_curve_rises_and_ends_at_the_recorded_accuracy(recorded) -> None:
    responses = [
        recorded("", "correct" if number % 3 else "wrong", tokens=1 + number, problem=f"p{number % 5}") for number in range(60)
    ]
    at = budgets([one.num_tokens for one in responses])
    curve = budget_curve(responses, at, "tokens")
    values = list(accuracies(curve).values())
    assert values == sorted(values) and (at[0], at[-1]) == (1, 60)
    assert values[-1] == pytest.approx(40 / 60)
    assert all(point["low"] <= point["accuracy"] <= point["high"] for point in curve)


def test_a_response_that_was_cut_off_is_wrong_and_ends_the_curve(recorded) -> None:
    responses = [recorded("", tokens=20, finished=False), recorded("", tokens=10)]
    assert accuracies(budget_curve(responses, [10, 20, 40], "tokens")) == {10: 0.5, 20: 0.5}


def test_the_curve_ends_at_the_shortest_cut_whatever_the_budget_of_each(recorded) -> None:
    cut = [recorded("", "wrong", tokens=size, finished=False, problem=f"p{size}") for size in (25, 80)]
    responses = [*cut, recorded("", tokens=10), recorded("", tokens=50)]
    assert accuracies(budget_curve(responses, [10, 20, 40, 80], "tokens")) == pytest.approx({10: 1 / 6, 20: 1 / 6, 25: 1 / 6})
    assert budget_end(responses, "tokens") == {"ends_at": 25, "cut_off": 2, "judged": 4}


def test_what_nobody_could_judge_ends_no_curve(recorded) -> None:
    responses = [recorded("", tokens=10), recorded("", "unverifiable", tokens=0, finished=False)]
    assert accuracies(budget_curve(responses, [10, 20], "tokens")) == {10: 1, 20: 1}
    assert budget_end(responses, "tokens") == {"ends_at": None, "cut_off": 0, "judged": 1}


def test_a_response_cut_off_before_its_first_token_leaves_no_curve(recorded) -> None:
    assert budget_curve([recorded("", "wrong", tokens=0, finished=False), recorded("")], [1, 10], "tokens") == []


def test_nothing_that_could_be_judged_has_no_curve(recorded) -> None:
    assert budget_curve([recorded("", "unverifiable")], [1], "tokens") == []


def test_lengths_are_told_by_verdict(recorded) -> None:
    responses = [recorded("", tokens=10), recorded("", tokens=20), recorded("", "wrong", tokens=50, finished=False)]
    found = length_report(responses, "tokens")
    assert (found["correct"]["mean"], found["wrong"]["mean"], found["all"]["unfinished"]) == (15, 50, 1)
    assert found["all"]["quantiles"]["50"] == 20
    assert "unverifiable" not in found


def test_empty_responses_have_budgets(recorded) -> None:
    assert budgets([0, 0]) == [1]
    assert accuracies(budget_curve([recorded("", tokens=0)], [1], "tokens")) == {1: 1}
