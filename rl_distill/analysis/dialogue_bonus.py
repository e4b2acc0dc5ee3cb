"""Why a dialogue's bonus was or was not paid, in words with numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rl_distill.trajectory import Context, Group, Trajectory

Measure = Literal["paper_gate", "gain", "paired", "logp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a stage pays for. `measure` None: nothing."""

    measure: Measure | None = None
    delta: float = 0.0
    nu: float = 1.0
    margin: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Answers that could be judged, and how many of them are correct."""

    correct: int
    judged: int

    @property
    def share(self) -> float | None:
        return self.correct / self.judged if self.judged else None

    def __str__(self) -> str:
        return f"{self.correct} of {self.judged}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a dialogue was paid.

    bonus  added to the reward of its answer
    words  one sentence or two that say why
    """

    bonus: float
    words: str


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


def accounts(group: Group, terms: Terms) -> dict[int, Account]:
    """An account for each dialogue of a group."""
    return {dialogue: _account(group, dialogue, end, terms) for dialogue, end in ends(group).items()}


def _account(group: Group, dialogue: int, end: Trajectory, terms: Terms) -> Account:
    own, control, words = _MEASURES[terms.measure or "paired"](group, dialogue, end)
    if own is None or control is None:
        return Account(bonus=0.0, words=f"{words}, so nothing can be compared: bonus 0.")
    if terms.measure == "paper_gate":
        return _gate(end, own, control, words, terms)
    gain = own - control
    words += f": gain {number(gain)}"
    counted = gain
    if terms.measure == "gain" and terms.margin:
        counted = gain - terms.margin
        words += f", less a margin of {number(terms.margin)} {number(counted)}"
    if terms.measure is None:
        return Account(bonus=0.0, words=f"{words}. This stage pays no bonus.")
    if end.status != "correct":
        return Account(bonus=0.0, words=f"{words}, bonus 0. {_unpaid(end)}")
    bonus = terms.delta * min(1.0, max(0.0, counted))
    rate = f" ({number(terms.delta)} x {number(min(1.0, counted))})" if bonus else ""
    return Account(bonus=bonus, words=f"{words}, bonus {number(bonus)}{rate}.")


def _gate(end: Trajectory, own: float, control: float, words: str, terms: Terms) -> Account:
    opened = own > terms.nu * control
    words += f". {number(own)} is {'' if opened else 'not '}above {number(terms.nu)} x {number(control)}"
    words += f", so the gate is {'open' if opened else 'closed'}"
    if opened and end.status != "correct":
        return Account(bonus=0.0, words=f"{words}, bonus 0. {_unpaid(end)}")
    bonus = terms.delta if opened else 0.0
    return Account(bonus=bonus, words=f"{words}: bonus {number(bonus)}.")


Pair = tuple[float | None, float | None, str]  # with the dialogue, without what is measured, how the words begin


def _pooled(group: Group, context: Context, name: str) -> Pair:
    full, other = tally(list(ends(group).values())), tally(answers(group, context))
    return full.share, other.share, f"Over the problem's dialogues, correct in {full} after all probes and in {other} {name}"


def _paired(group: Group, dialogue: int, end: Trajectory) -> Pair:
    """Blanked dialogues that read the same are one context: their answers count together, whichever dialogue they stand by."""
    blanked = answers(group, "blanked")
    asked = {one.messages[:-1] for one in blanked if one.dialogue == dialogue}
    own, control = tally(answers(group, "full", dialogue)), tally([one for one in blanked if one.messages[:-1] in asked])
    return own.share, control.share, f"Correct in {own} with its own replies, in {control} with blanked ones"


def _logp(group: Group, dialogue: int, end: Trajectory) -> Pair:
    gold = [one for one in group.trajectories if one.origin == "teacher" and one.control and one.dialogue == dialogue]
    after = {one.context: mean_reference_logprob(one) for one in gold}
    own, control = after.get("full"), after.get("blanked")
    if own is None or control is None:
        return None, None, "No log-probs of the gold answer were recorded"
    words = f"Log-prob of a token of the gold answer {number(own)} after its own replies, {number(control)} after blanked ones"
    return own, control, words


_MEASURES = {
    "paper_gate": lambda group, dialogue, end: _pooled(group, "partial", "after the first probes alone"),
    "gain": lambda group, dialogue, end: _pooled(group, "direct", "with the problem alone"),
    "paired": _paired,
    "logp": _logp,
}


def mean_reference_logprob(attempt: Trajectory) -> float | None:
    """Of the sampled tokens, in nats; None where the reference's were not recorded."""
    if attempt.reference_logprobs is None or not attempt.num_sampled:
        return None
    own = [value for value, mine in zip(attempt.reference_logprobs, attempt.sampled, strict=True) if mine]
    return sum(own) / len(own)


def number(value: float) -> str:
    """With a true minus sign and no digits that say nothing."""
    return f"{round(value, 4) + 0.0:.4g}".replace("-", "\u2212")


def _unpaid(end: Trajectory) -> str:
    return f"Only a correct answer is paid, and this one is {end.status or 'not judged'}."
