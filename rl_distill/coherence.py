"""Does what a student says about a problem help it to solve the problem? What each of a group's dialogues is worth.

The Dialogue Structure Utility of Explanatory GRPO (arXiv:2603.19266) and three measures of ours that look at the single dialogue,
as pure functions of a scored group. A *gain* compares answers after a dialogue with answers after something else; only a correct
answer is ever paid, so that a right one is always worth more than a wrong one, and no control is paid, for that would reward
being bad at it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from rl_distill.trajectory import Context, Group, Trajectory

Measure = Literal["paper_gate", "gain", "paired", "logp"]

# Contexts whose answers each measure compares with those that end a dialogue. `full` are further answers to the same dialogue.
COMPARED: Mapping[Measure, frozenset[Context]] = {
    "paper_gate": frozenset({"partial"}),
    "gain": frozenset({"direct"}),
    "paired": frozenset({"full", "blanked"}),
    "logp": frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Why a dialogue's bonus is or is not paid.

    dialogue  which of the group's
    correct   whether the answer that ends it is
    own       how well the problem is solved after the dialogue: a share of correct answers, or a log-prob for each token
    control   the same without what is measured; None where nobody could tell
    paid      share of the bonus that is paid, in [0, 1]
    """

    dialogue: int
    correct: bool
    own: float | None
    control: float | None
    paid: float


def dialogues(group: Group) -> list[Trajectory]:
    """The answers that end the group's dialogues, those that were judged; the attempts that may be paid."""
    return [
        one for one in group.trajectories if one.context == "full" and one.origin == "policy" and not one.control and _judged(one)
    ]


def accounts(group: Group, measure: Measure, *, nu: float = 1.0, margin: float = 0.0) -> list[Account]:
    """An account for each of `dialogues(group)`, in order.

    paper_gate  paid in full if P(correct | all probes) > nu P(correct | the first of them), arXiv:2603.19266
    gain        max(0, P(correct | all probes) - P(correct | the problem alone) - margin)
    paired      max(0, c - b): c is the share of correct answers after this very dialogue, b after the same probes with the
                student's replies blanked. The probes' text stands on both sides, so what it gives away cancels
    logp        mean log-prob of the gold answer's tokens, by a frozen model, after this dialogue less after the blanked one,
                clipped to [0, 1]

    Args:
        nu: of `paper_gate`; below G / (G - 1) for groups of G it changes nothing, for the shares are multiples of 1 / G.
        margin: of `gain`.
    """
    ends = dialogues(group)
    if measure == "logp":
        found = _logp(group, ends)
    else:
        found = [(_share(own), _share(control)) for own, control in compared(group, measure)]
    return [_account(end, *pair, measure=measure, nu=nu, margin=margin) for end, pair in zip(ends, found, strict=True)]


def compared(group: Group, measure: Measure) -> list[tuple[list[Trajectory], list[Trajectory]]]:
    """The answers that were judged on both sides of each account of `dialogues(group)`, in order; `logp` compares none."""
    ends = dialogues(group)
    if measure == "paired":
        return _paired(group, ends)
    return [(ends, _of(group, "partial" if measure == "paper_gate" else "direct"))] * len(ends)


Pair = tuple[float | None, float | None]  # own, control


def _account(end: Trajectory, own: float | None, control: float | None, *, measure: Measure, nu: float, margin: float) -> Account:
    correct, dialogue = end.status == "correct", end.dialogue
    assert dialogue is not None, "an attempt that ends a dialogue says which"
    paid = 0.0
    if correct and own is not None and control is not None:
        paid = float(own > nu * control) if measure == "paper_gate" else min(1.0, max(0.0, own - control - margin))
    return Account(dialogue=dialogue, correct=correct, own=own, control=control, paid=paid)


def _paired(group: Group, ends: Sequence[Trajectory]) -> list[tuple[list[Trajectory], list[Trajectory]]]:
    """Blanked dialogues that read the same are one context: their answers count together, whichever dialogue they stand by."""
    further, blanked = _of(group, "full"), _of(group, "blanked")
    asked = {one.dialogue: _asked(one) for one in group.trajectories if one.context == "blanked"}

    def sides(end: Trajectory) -> tuple[list[Trajectory], list[Trajectory]]:
        own = [end, *(one for one in further if one.control and one.dialogue == end.dialogue)]
        alike = [one for one in blanked if _asked(one) == asked.get(end.dialogue)]
        return own, alike

    return [sides(end) for end in ends]


def _logp(group: Group, ends: Sequence[Trajectory]) -> list[Pair]:
    gold = [one for one in group.trajectories if one.origin == "teacher" and one.control]
    after = {(one.dialogue, one.context): _mean_reference_logprob(one) for one in gold}
    return [(after.get((end.dialogue, "full")), after.get((end.dialogue, "blanked"))) for end in ends]


def _of(group: Group, context: Context) -> list[Trajectory]:
    """What the student answered in a context, as far as it could be judged."""
    return [one for one in group.trajectories if one.context == context and one.origin == "policy" and _judged(one)]


def _judged(attempt: Trajectory) -> bool:
    return attempt.status in ("correct", "wrong")


def _asked(attempt: Trajectory) -> tuple[object, ...]:
    """All that came before the answer."""
    return attempt.messages[:-1]


def _share(attempts: Sequence[Trajectory]) -> float | None:
    """Of correct ones; None where there are none."""
    return fmean(one.status == "correct" for one in attempts) if attempts else None


def _mean_reference_logprob(attempt: Trajectory) -> float:
    """Of the sampled tokens: the gold answer's."""
    if attempt.reference_logprobs is None:
        raise ValueError(
            f"reference_logprobs: the gold answer to problem {attempt.problem_id!r} has none; a frozen model must read it"
        )
    return fmean(value for value, own in zip(attempt.reference_logprobs, attempt.sampled, strict=True) if own)
