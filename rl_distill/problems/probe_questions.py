"""The probes of another set's problems as problems of their own: the control in which nobody holds a dialogue."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rl_distill.config import config, one_of, setting
from rl_distill.errors import InputError
from rl_distill.probes import Probe, recorded_probes
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
            probes = [one for one in single_probes(group.problem, "teacher") if one.problem.answer is not None]
            num_probes += len(probes)
            found += [*([group] if self.with_problems else []), *probes]
        if not num_probes:
            raise InputError(
                f"problems {self.name!r}", "no problem has a closed probe that may be asked", "give problems that carry probes"
            )
        return checked(found, self.name)


def single_probes(problem: Problem, model: str) -> list[Group]:
    """Each probe that may be asked as a problem of its own, with the teacher's reply; an open one has no gold answer.

    Args:
        model: who the reply is from.
    """
    return [_alone(problem, place, probe, model) for place, probe in enumerate(recorded_probes(problem)) if probe.survives]


def _alone(problem: Problem, place: int, probe: Probe, model: str) -> Group:
    own = Problem(
        id=f"{problem.id}#{place}-{probe.rule}",
        prompt=probe.text,
        answer=probe.teacher_answer if probe.answer_kind == "closed" else None,
        source=problem.source,
        metadata={"probe_of": problem.id, "rule": probe.rule},
    )
    verdict = Verdict(status="correct", method="probe", detail="consistent" if probe.consistent else "")
    reply = teacher_trajectory(own, dialogue(probe.text, probe.teacher_reply), model=model, verdict=verdict)
    return Group(problem=own, trajectories=(reply,))
