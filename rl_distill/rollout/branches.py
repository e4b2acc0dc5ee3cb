"""What is put to the student in the dialogues of one problem: the turns of every context, and what a teacher says in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from rl_distill.probes import Probe
from rl_distill.rollout.turns import Reply, Turn, text_trajectory
from rl_distill.trajectory import Context, Problem, Trajectory

TEACHER = "teacher"  # the model that lessons and gold replies name


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A problem that is put in a step, with what all of its dialogues share. Turns are unanswered where nothing else is said.

    epoch     walks over all problems before this one
    full      the probes, then the problem
    partial   the first few probes, then the problem; () without that context, as in the two below
    blanked   the probes, with blanks for replies
    thoughts  requests for thought, then the problem
    direct    the problem alone
    lesson    the probes with the teacher's replies; None if nobody imitates them
    gold      the gold answer as it is said; None if nobody asks for it
    """

    problem: Problem
    probes: tuple[Probe, ...]
    epoch: int
    full: tuple[Turn, ...]
    partial: tuple[Turn, ...]
    blanked: tuple[Turn, ...]
    thoughts: tuple[Turn, ...]
    direct: Turn
    lesson: Trajectory | None
    gold: Reply | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """One of a visit's dialogues, as far as it has come.

    number    among the visit's, from 0
    turns     probes with the student's replies
    thoughts  requests for thought with the student's replies
    """

    visit: Visit
    number: int
    turns: tuple[Turn, ...] = ()
    thoughts: tuple[Turn, ...] = ()

    def before_answer(self, context: Context, lender: "Dialogue | None" = None) -> tuple[Turn, ...]:
        """The turns that lead to an answer, the last of them the problem.

        Args:
            lender: the dialogue whose replies stand in context shuffled.
        """
        visit = self.visit
        if context == "direct":
            return (visit.direct,)
        if context == "partial":
            return (*self.turns[: len(visit.partial) - 1], visit.partial[-1])
        if context == "blanked":
            return (*visit.blanked, visit.full[-1])
        if context == "think_longer":
            return (*self.thoughts, visit.thoughts[-1])
        if context == "shuffled":
            assert lender is not None, "somebody else's replies are needed"
            return (*_with_replies_of(self.turns, lender.turns), visit.full[-1])
        return (*self.turns, visit.full[-1])

    def gold_rows(self) -> list[Trajectory]:
        """The gold answer after the student's own replies and after blanked ones; what is sampled is the answer alone."""
        gold, rows = self.visit.gold, []
        if gold is None:
            return []
        for context in ("full", "blanked"):
            *before, problem = self.before_answer(context)
            turns = [turn.answered(turn.reply.overheard()) for turn in before if turn.reply]
            rows.append(
                text_trajectory(
                    (*turns, problem.answered(gold)),
                    problem_id=self.visit.problem.id,
                    model=TEACHER,
                    origin="teacher",
                    context=context,
                    dialogue=self.number,
                    control=True,
                    metadata=rules(self.visit.probes),
                )
            )
        return rows


def rules(probes: Sequence[Probe]) -> dict[str, list[str]]:
    """What an attempt's metadata say of the probes before it."""
    return {"rules": [probe.rule for probe in probes]}


def _with_replies_of(turns: Sequence[Turn], others: Sequence[Turn]) -> list[Turn]:
    return [turn.answered(other.reply.overheard()) for turn, other in zip(turns, others, strict=True) if other.reply is not None]
