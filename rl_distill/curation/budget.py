"""Limits on money, tokens and time that hold whatever is under way, and what the rest will cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rl_distill.config import config, setting
from rl_distill.curation.teacher import Response, TeacherRequest
from rl_distill.errors import InputError

CHARACTERS_PER_TOKEN = 4  # of English prose, about


@config
class Prices:
    """What the teacher costs. Of the same currency as the budget; 0 is a teacher that is free, and is said."""

    input_per_million: float = setting(0.0, about="price of a million prompt tokens", ge=0)
    output_per_million: float = setting(0.0, about="price of a million answer tokens, reasoning included", ge=0)

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        return (prompt_tokens * self.input_per_million + completion_tokens * self.output_per_million) / 1e6

    @property
    def are_zero(self) -> bool:
        return self.input_per_million == self.output_per_million == 0


@config
class Budget:
    """Hard limits. Money and tokens count what earlier processes spent in the same store, time counts this process."""

    max_price: float | None = setting(None, about="money, in the currency of the prices; none: no limit", gt=0)
    max_tokens: int | None = setting(None, about="prompt and answer tokens; none: no limit", unit="tokens", gt=0)
    max_seconds: float | None = setting(None, about="after which no call is begun; none: no limit", unit="s", gt=0)


@dataclass(frozen=True, slots=True)
class Spending:
    """Tokens and money, spent or foreseen."""

    prompt_tokens: float = 0
    completion_tokens: float = 0
    price: float = 0.0

    @property
    def tokens(self) -> float:
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: "Spending", times: float = 1) -> "Spending":
        return Spending(
            self.prompt_tokens + times * other.prompt_tokens,
            self.completion_tokens + times * other.completion_tokens,
            self.price + times * other.price,
        )


class BudgetGuard:
    """Lets a call be made only if the limits hold even when it, and all that are under way, cost the most that they can.

    Args:
        spent: by earlier processes, on the same rows.

    Raises:
        InputError: a limit of money that prices of zero never reach.
    """

    def __init__(self, budget: Budget, prices: Prices, spent: Spending) -> None:
        if budget.max_price is not None and prices.are_zero:
            raise InputError("budget.max_price", "has no effect, as both prices are 0", "give the teacher's prices, or drop it")
        self.spent = spent
        self._budget, self._prices, self._spent_before = budget, prices, spent
        self._reserved, self._num_reserved = Spending(), 0

    @property
    def has_reserved(self) -> bool:
        return self._num_reserved > 0

    def at_most(self, requests: Sequence[TeacherRequest]) -> Spending:
        """The most that one call for each of these can cost."""
        prompts = sum(request.max_prompt_tokens for request in requests)
        answers = sum(request.sampling.max_tokens for request in requests)
        return Spending(prompts, answers, self._prices.of(prompts, answers))

    def reserve(self, cost: Spending) -> bool:
        """Set the cost of a call aside; False if it does not fit now."""
        if self.passed_by(self.spent.plus(self._reserved).plus(cost)):
            return False
        self._reserved = self._reserved.plus(cost)
        self._num_reserved += 1
        return True

    def release(self, cost: Spending) -> None:
        """The call is over; what it really cost is for `count`."""
        self._num_reserved -= 1
        self._reserved = self._reserved.plus(cost, -1) if self._num_reserved else Spending()  # no rounding piles up

    def count(self, response: Response) -> Response:
        """The response with its price, which is spent now."""
        if not response.was_paid:
            return response
        price = self._prices.of(response.prompt_tokens, response.completion_tokens)
        self.spent = self.spent.plus(Spending(response.prompt_tokens, response.completion_tokens, price))
        return replace(response, price=price)

    def refusal(self, cost: Spending) -> str:
        """Why a call of this cost does not fit, in the words of the recipe."""
        limit = self.passed_by(self.spent.plus(self._reserved).plus(cost))
        return f"{limit} would be passed by the next call at its longest (spent: {describe(self.spent, self._prices)}): raise it"

    def projected(self, num_ended: int, num_all: int) -> Spending:
        """What all will have cost if the others of this process's rows cost what those that ended did on average."""
        now = self.spent.plus(self._spent_before, -1)
        return self._spent_before.plus(now, num_all / num_ended)

    def passed_by(self, spending: Spending) -> str | None:
        """The limit that is passed, if any."""
        if self._budget.max_price is not None and spending.price > self._budget.max_price:
            return f"budget.max_price {self._budget.max_price:g}"
        if self._budget.max_tokens is not None and spending.tokens > self._budget.max_tokens:
            return f"budget.max_tokens {self._budget.max_tokens}"
        return None


def estimate(requests: Sequence[TeacherRequest], prices: Prices) -> tuple[Spending, Spending]:
    """(about what the prompts alone cost, the most that prompts and answers can cost), one call a row; nothing is asked."""
    characters = sum(len(turn.content) for request in requests for turn in request.conversation)
    prompts = characters / CHARACTERS_PER_TOKEN
    most = sum(request.max_prompt_tokens for request in requests)
    answers = sum(request.sampling.longer_max_tokens or 0 for request in requests)
    answers += sum(request.sampling.max_tokens for request in requests)
    return Spending(prompts, 0, prices.of(prompts, 0)), Spending(most, answers, prices.of(most, answers))


def dry_run(requests: Sequence[TeacherRequest], prices: Prices, num_prompts: int = 3) -> list[str]:
    """What generating would do, line by line: rows, cost, the first prompts."""
    least, most = estimate(requests, prices)
    lines = [
        f"{len(requests)} rows",
        f"prompts: about {describe(least, prices)}",
        f"prompts and answers at their longest: {describe(most, prices)}",
    ]
    for request in requests[:num_prompts]:
        turns = " | ".join(f"{turn.role}: {turn.content}" for turn in request.conversation)
        lines.append(f"{request.row_key} ({request.problem_id}): {turns}")
    return lines


def describe(spending: Spending, prices: Prices) -> str:
    """
    Example:
        >>> describe(Spending(1000, 500, 0.0), Prices())
        '1,500 tokens, free (prices are 0)'
    """
    money = "free (prices are 0)" if prices.are_zero else f"{spending.price:.4g} in money"
    return f"{spending.tokens:,.0f} tokens, {money}"
