"""Why a dialogue's bonus was or was not paid, in words with numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl_distill.coherence import Account, Measure, accounts, compared
from rl_distill.trajectory import Context, Group, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a stage pays for. `measure` None: nothing."""

    measure: Measure | None = None
    delta: float = 0.0
    nu: float = 1.0
    margin: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """What a dialogue was paid.

    bonus  added to the reward of its answer
    words  one sentence or two that say why
    """

    bonus: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Answers that could be judged, and how many of them are correct."""

    correct: int
    judged: int

    def __str__(self) -> str:
        return f"{self.correct} of {self.judged}"


def terms_of(algorithm: Mapping[str, Any]) -> Terms:
    """Those of an algorithm's resolved settings; one that knows no coherence pays nothing."""
    measure = algorithm.get("coherence", "none")
    if measure == "none":
        return Terms()
    return Terms(measure=measure, delta=algorithm["delta"], nu=algorithm["nu"], margin=algorithm["margin"])


def tally(attempts: Sequence[Trajectory]) -> Tally:
    judged = [one for one in attempts if one.status in ("correct", "wrong")]
    return Tally(correct=sum(one.status == "correct" for one in judged), judged=len(judged))


def answers(group: Group, context: Context, dialogue: int | None = None) -> list[Trajectory]:
    """What the student answered in a context, in all dialogues or in one; in `full` the answer that ends it comes first."""
    return [
        one
        for one in group.trajectories
        if one.context == context and one.origin == "policy" and dialogue in (None, one.dialogue) and one.dialogue is not None
    ]


def ends(group: Group) -> dict[int, Trajectory]:
    """The attempt that ends each dialogue, by the dialogue's number."""
    return {one.dialogue: one for one in answers(group, "full") if not one.control and one.dialogue is not None}


def payments(group: Group, terms: Terms) -> dict[int, Payment]:
    """What each dialogue of a group was paid, and why; where nothing is paid, what its replies gained."""
    measure = terms.measure or "paired"
    if measure == "logp" and not all(one.reference_logprobs for one in _gold(group)):
        return {dialogue: Payment(bonus=0.0, words="No log-probs of the gold answer were recorded.") for dialogue in ends(group)}
    found = accounts(group, measure, nu=terms.nu, margin=terms.margin)
    both = compared(group, measure) if measure != "logp" else [None] * len(found)
    paid = {one.dialogue: _payment(one, sides, terms) for one, sides in zip(found, both, strict=True)}
    unjudged = Payment(bonus=0.0, words="The answer could not be judged, so nothing can be compared.")
    return {dialogue: paid.get(dialogue, unjudged) for dialogue in ends(group)}


Sides = tuple[list[Trajectory], list[Trajectory]]  # answers after a dialogue, and those that they are compared with


def _payment(account: Account, sides: Sides | None, terms: Terms) -> Payment:
    bonus = terms.delta * account.paid
    if account.own is None or account.control is None:
        return Payment(bonus=bonus, words=f"{_compared(account, sides, terms)}, so nothing can be compared.")
    words = f"{_compared(account, sides, terms)}{_gained(account.own, account.control, terms)}"
    if terms.measure is None:
        return Payment(bonus=bonus, words=f"{words}. This stage pays no bonus.")
    unpaid = "" if account.correct else " Only a correct answer is paid, and this one is wrong."
    return Payment(bonus=bonus, words=f"{words}, bonus {number(bonus)}.{unpaid}")


def _compared(account: Account, sides: Sides | None, terms: Terms) -> str:
    """What was counted, or measured, on both sides."""
    if sides is None:
        own, control = ("unknown" if value is None else number(value) for value in (account.own, account.control))
        return f"Log-prob of a token of the gold answer {own} after its own replies, {control} after blanked ones"
    own_count, control_count = map(tally, sides)
    if terms.measure in ("paper_gate", "gain"):
        other = "after the first probes alone" if terms.measure == "paper_gate" else "with the problem alone"
        return f"Over the problem's dialogues, correct in {own_count} after all probes and in {control_count} {other}"
    pooled = (
        " (of all dialogues that read alike when blanked)" if any(one.dialogue != account.dialogue for one in sides[1]) else ""
    )
    return f"Correct in {own_count} with its own replies, in {control_count} with blanked ones{pooled}"


def _gained(own: float, control: float, terms: Terms) -> str:
    if terms.measure == "paper_gate":
        opened = own > terms.nu * control
        compares = f"{number(own)} is {'' if opened else 'not '}above {number(terms.nu)} x {number(control)}"
        return f". {compares}: the gate is {'open' if opened else 'closed'}"
    less = f", less a margin of {number(terms.margin)} {number(own - control - terms.margin)}" if terms.margin else ""
    return f": gain {number(own - control)}{less}"


def _gold(group: Group) -> list[Trajectory]:
    return [one for one in group.trajectories if one.origin == "teacher" and one.control]


def mean_reference_logprob(attempt: Trajectory) -> float | None:
    """Of the sampled tokens, in nats; None where the reference's were not recorded."""
    if attempt.reference_logprobs is None or not attempt.num_sampled:
        return None
    own = [value for value, mine in zip(attempt.reference_logprobs, attempt.sampled, strict=True) if mine]
    return sum(own) / len(own)


def number(value: float) -> str:
    """With a true minus sign and no digits that say nothing."""
    return f"{round(value, 4) + 0.0:.4g}".replace("-", "\u2212")
