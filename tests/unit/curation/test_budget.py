"""Prices, limits and what is foreseen."""

import pytest
from teacher_calls import asked

from rl_distill.config import parse
from rl_distill.curation.budget import Budget, BudgetGuard, Prices, Spending, describe, dry_run, estimate
from rl_distill.curation.teacher import Response
from rl_distill.errors import InputError

DEAR = Prices(input_per_million=0.55, output_per_million=2.19)


def paid(prompt: int, completion: int) -> Response:
    return Response(
        row_key="k",
        problem_id="p",
        seed=0,
        max_tokens=9,
        prompt_tokens=prompt,
        completion_tokens=completion,
        raw={"any": "thing"},
    )


def test_prices_are_of_a_million_tokens_and_need_not_be_whole():
    assert DEAR.of(1_000_000, 2_000_000) == pytest.approx(0.55 + 2 * 2.19)


def test_a_teacher_may_be_free_and_that_is_said():
    assert describe(Spending(10, 5, 0.0), Prices()) == "15 tokens, free (prices are 0)"


def test_a_limit_of_money_without_prices_is_refused():
    with pytest.raises(InputError, match="budget.max_price: has no effect, as both prices are 0"):
        BudgetGuard(Budget(max_price=1.0), Prices(), Spending())


@pytest.mark.parametrize("wrong", [{"input_per_million": -1}, {"output_per_million": float("nan")}])
def test_prices_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(InputError):
        parse(Prices, wrong)


def test_what_is_under_way_counts_as_its_most():
    guard = BudgetGuard(Budget(max_tokens=100), Prices(), Spending())
    cost = Spending(20, 20)
    assert guard.reserve(cost) and guard.reserve(cost) and not guard.reserve(cost)
    guard.release(cost)
    guard.count(paid(5, 5))
    assert guard.reserve(cost) and not guard.reserve(cost)


def test_calls_that_nobody_worked_for_cost_nothing():
    guard = BudgetGuard(Budget(), DEAR, Spending())
    failed = Response(row_key="k", problem_id="p", seed=0, max_tokens=9, failure="transport")
    assert guard.count(failed).price == 0 and guard.spent == Spending()
    assert guard.count(paid(1000, 1000)).price == pytest.approx(DEAR.of(1000, 1000))


def test_a_projection_takes_this_process_mean_for_the_rest_and_adds_what_was_spent_before():
    guard = BudgetGuard(Budget(), DEAR, Spending(1000, 1000, 7.0))
    guard.count(paid(10, 30))
    guard.count(paid(20, 20))
    projected = guard.projected(2, 10)
    assert (projected.prompt_tokens, projected.completion_tokens) == (1150, 1250)
    assert projected.price == pytest.approx(7.0 + DEAR.of(150, 250))


def test_the_bound_of_a_prompt_holds_for_letters_of_several_bytes():
    (request,) = asked(["\u221a2 \u2248 ?"], system_prompt="\u4f60\u597d")
    assert request.max_prompt_tokens >= len("\u221a2 \u2248 ?".encode()) + len("\u4f60\u597d".encode())


def test_a_dry_run_shows_prompts_and_bounds():
    requests = asked(["What is 2 + 2?", "And 3?"], num_samples=2)
    least, most = estimate(requests, DEAR)
    assert 0 < least.prompt_tokens < most.prompt_tokens and most.completion_tokens == 4 * 20
    lines = dry_run(requests, DEAR, num_prompts=1)
    assert lines[0] == "4 rows" and lines[-1].endswith("(p0): user: What is 2 + 2?")
    assert "in money" in lines[2]
