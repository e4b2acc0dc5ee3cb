"""Why a row was left out: every stage that keeps less than it got says so, row by row."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rl_distill.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A problem, or one attempt at it or one of its probes, that a stage left out.

    stage       name of the stage, such as "dedup"
    problem_id  the problem, and its `source`
    reason      the rule that it fell under: a word, to be counted by
    match       id of the problem that it is like, where the rule compares problems; "" where it does not
    detail      what was found, in words or figures
    attempt     place of the attempt in the group that the stage got, from 0; None where it is not about an attempt
    probe       rule of the probe that is left out; "" where it is not about a probe
    """

    stage: str
    problem_id: str
    source: str
    reason: str
    match: str = ""
    detail: str = ""
    attempt: int | None = None
    probe: str = ""

    @property
    def kind(self) -> str:
        """What is left out: "problem", "attempt" or "probe"."""
        return "probe" if self.probe else "problem" if self.attempt is None else "attempt"


def refuse_empty(stage: str, kept: Sequence[object], drops: Sequence[Drop]) -> None:
    """For whoever runs the stages: nothing is left to go on with.

    Raises:
        InputError: a stage kept nothing; it names what the problems fell under, most frequent first, with an example.
    """
    if kept:
        return
    field = f"curation.{stage}"
    whole = [drop for drop in drops if drop.kind == "problem"]
    if not whole:
        raise InputError(field, "got no problems", "check what the stage before it reads, and what it keeps")
    counts = ", ".join(f"{reason} {times}" for reason, times in Counter(drop.reason for drop in whole).most_common())
    first = whole[0]
    example = f"{first.problem_id!r}" + (f" is like {first.match!r}" if first.match else "")
    raise InputError(
        field,
        f"left nothing of {len(whole)} problems ({counts}; for example {example}, {first.detail})".replace(", )", ")"),
        "give other problems, or loosen the stage",
    )
