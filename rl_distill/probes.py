"""Probes: questions about a problem and its solution that make a student explain itself (arXiv:2603.19266).

They travel with their problem, as `Problem.metadata["probes"]`: plain data, so that a curated data set and an embedded world give
them alike.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rl_distill.errors import InputError
from rl_distill.trajectory import Problem

AnswerKind = Literal["closed", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question about a problem, with the teacher's own reply to it.

    rule                  which rule made it
    text                  what the student is asked; complete in itself, for the problem comes last
    answer_kind           closed: the answer can be checked by rule; open: only a judge could
    teacher_reply         reasoning and answer, worded as the student should say it
    teacher_answer        the answer alone
    consistent            whether the teacher, shown this probe and its reply, still solves the problem; None: nobody looked
    student_base_correct  whether the student answers it before any training; None: nobody looked
    leaks_gold            whether the text gives the problem's answer away
    """

    rule: str
    text: str
    answer_kind: AnswerKind
    teacher_reply: str
    teacher_answer: str
    consistent: bool | None = None
    student_base_correct: bool | None = None
    leaks_gold: bool = False

    @property
    def survives(self) -> bool:
        """Whether a student may be asked it: it misleads nobody who has looked, and gives nothing away."""
        return self.consistent is not False and not self.leaks_gold


def probes_of(problem: Problem) -> tuple[Probe, ...]:
    """The probes of a problem that may be asked, in their recorded order; () if it has none.

    Raises:
        InputError: what stands there is no list of probes.
    """
    return tuple(probe for probe in recorded_probes(problem) if probe.survives)


def recorded_probes(problem: Problem) -> tuple[Probe, ...]:
    """All probes of a problem, those among them that a filter has labelled and that may not be asked.

    Raises:
        InputError: what stands there is no list of probes.
    """
    try:
        return tuple(Probe(**plain) for plain in problem.metadata.get("probes", ()))
    except TypeError as error:
        raise InputError(
            "problems",
            f"problem {problem.id!r} has probes that are none ({error})",
            "give each the fields of rl_distill.probes.Probe",
        ) from None


def probes_to_plain(probes: Sequence[Probe]) -> list[dict[str, Any]]:
    """What `probes_of` reads back, for `Problem.metadata["probes"]`."""
    return [asdict(probe) for probe in probes]
