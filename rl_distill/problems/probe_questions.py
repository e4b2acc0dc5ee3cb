"""The probes of another set's problems as problems of their own: the control in which nobody holds a dialogue."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rl_distill.config import config, one_of, setting
from rl_distill.errors import InputError
from rl_distill.probes import Probe, probes_of
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.problems.base import checked, dialogue, teacher_trajectory
from rl_distill.problems.recorded import Records
from rl_distill.trajectory import Group, Problem, Verdict

if TYPE_CHECKING:
    Probed = Arithmetic | Records
else:
    Probed = one_of({"arithmetic": Arithmetic, "records": Records})


@config
class ProbeQuestions:
    """Each closed probe by itself, with the teacher's reply to it, after the problem that it is about.

    arXiv:2603.19266 trains its arms without a bonus so: each probe is a sample of one turn.
    """

    name: Literal["probe_questions"] = "probe_questions"
    of: Probed = setting(about="problems that carry probes")
    with_problems: bool = setting(True, about="whether the problems themselves are in the set too")

    def groups(self) -> Sequence[Group]:
        found: list[Group] = []
        num_probes = 0
        for group in self.of.groups():
            probes = [probe for probe in probes_of(group.problem) if probe.answer_kind == "closed"]
            num_probes += len(probes)
            found += [group] if self.with_problems else []
            found += [_question(group.problem, number, probe) for number, probe in enumerate(probes)]
        if not num_probes:
            raise InputError(
                f"problems {self.name!r}", "no problem has a closed probe that may be asked", "give problems that carry probes"
            )
        return checked(found, self.name)


def _question(problem: Problem, number: int, probe: Probe) -> Group:
    metadata = {"about": problem.id, "probe": probe.rule}
    asked = Problem(
        id=f"{problem.id}/{number}", prompt=probe.text, answer=probe.teacher_answer, source=problem.source, metadata=metadata
    )
    reply = teacher_trajectory(
        asked,
        dialogue(probe.text, probe.teacher_reply),
        model="teacher",
        verdict=Verdict(status="correct", method="probe", detail=probe.rule),
    )
    return Group(problem=asked, trajectories=(reply,))
