"""What `arithmetic` says about a problem: a teacher's attempts, lessons with probes, a row of the pretraining corpus."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from random import Random
from typing import Literal

from rl_distill.probes import Probe as RecordedProbe
from rl_distill.probes import probes_of
from rl_distill.problems.arithmetic_chain import Chain
from rl_distill.problems.arithmetic_inversion import INVERSIONS, gives_away
from rl_distill.problems.arithmetic_probes import Maker, Probe, drawn_probe
from rl_distill.problems.arithmetic_rephrasing import REPHRASINGS
from rl_distill.problems.arithmetic_teacher import Attempt, Habits, attempt
from rl_distill.problems.arithmetic_worlds import World
from rl_distill.problems.base import dialogue, status_of, teacher_trajectory
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Context, Group, Message, Problem, Status, Trajectory, Verdict

ProbeFamily = Literal["inversion", "rephrasing"]

MAX_TEACHER_ATTEMPTS = 64
PROBLEM_SHARE, PROBE_SHARE = 0.65, 0.20  # of the corpus; the rest are dialogues
PROBE_FAMILIES: dict[ProbeFamily, dict[str, Maker]] = {"inversion": INVERSIONS, "rephrasing": REPHRASINGS}
MAX_PROBES = max(map(len, PROBE_FAMILIES.values()))
_TEACHER, _CORPUS = "arithmetic-teacher", "arithmetic-corpus"


def recorded_probes(chain: Chain, family: ProbeFamily, habits: Habits, *address: int | str) -> list[RecordedProbe]:
    """A probe of each rule that can be asked about the chain, with the first reply of a teacher that is right."""
    found = []
    for rule, maker in PROBE_FAMILIES[family].items():
        probe = _rightly_answered(maker, chain, habits, Random(addressed_seed(*address, family, rule)))
        if probe is not None:
            found.append(
                RecordedProbe(
                    rule=rule,
                    text=probe.question,
                    answer_kind="closed",
                    teacher_reply=probe.reply.text,
                    teacher_answer=probe.answer,
                    leaks_gold=gives_away(probe.question, chain),
                )
            )
    return found


def teacher_group(problem: Problem, chain: Chain, habits: Habits, rng: Random, wanted: Collection[Status]) -> Group:
    """Rejection sampling: attempts in the order drawn, until there is one of each wanted status."""
    trajectories: list[Trajectory] = []
    while not {found.status for found in trajectories}.issuperset(wanted) and len(trajectories) < MAX_TEACHER_ATTEMPTS:
        trajectories.append(_answered(problem, (), attempt(chain, habits, rng), model=_TEACHER))
    return Group(problem=problem, trajectories=tuple(trajectories))


def lesson_group(teacher: Group, rng: Random, probes_each: int | None) -> Group:
    """The teacher's first right attempt, and then its replies to the problem's probes.

    Args:
        teacher: its attempts at a problem that has probes.
        rng: of the order of the probes.
        probes_each: how many come before the problem in one conversation; None makes a conversation of each probe alone.
    """
    right = next((found for found in teacher.trajectories if found.status == "correct"), None)
    if right is None:
        return teacher
    problem, probes = teacher.problem, list(probes_of(teacher.problem))
    lessons = [right]
    if probes_each is None:
        lessons += [_lesson(problem, dialogue(probe.text, probe.teacher_reply), probe.rule) for probe in probes]
    else:
        rng.shuffle(probes)
        for first in range(0, len(probes), probes_each):
            asked = probes[first : first + probes_each]
            before = [turn for probe in asked for turn in dialogue(probe.text, probe.teacher_reply)]
            rules = " ".join(probe.rule for probe in asked)
            lessons.append(_lesson(problem, (*before, *right.messages), rules, context="full"))
    return Group(problem=problem, trajectories=tuple(lessons))


def corpus_group(problem: Problem, chain: Chain, world: World, rng: Random) -> Group:
    """A pretraining row: a trace, or one probe, or some probes of different kinds and then the problem."""
    form = rng.random()
    if PROBLEM_SHARE <= form < PROBLEM_SHARE + PROBE_SHARE:
        probe = drawn_probe(chain, world.corpus, rng, makers=world.corpus_probes)
        metadata = {**problem.metadata, "probe": probe.kind}
        problem = replace(problem, prompt=probe.question, answer=probe.answer, metadata=metadata)
        return Group(problem=problem, trajectories=(_answered(problem, (), probe.reply, model=_CORPUS),))
    probes: list[Probe] = []
    if form >= PROBLEM_SHARE + PROBE_SHARE:
        for _ in range(rng.randint(1, world.max_corpus_probes)):
            unused = [kind for kind in world.corpus_probes if kind not in {probe.kind for probe in probes}]
            probes.append(drawn_probe(chain, world.corpus, rng, unused, world.corpus_probes))
    reply = attempt(chain, world.corpus, rng)
    return Group(problem=problem, trajectories=(_answered(problem, probes, reply, model=_CORPUS),))


def _rightly_answered(maker: Maker, chain: Chain, habits: Habits, rng: Random) -> Probe | None:
    """Rejection sampling, as of the traces: replies keep the teacher's habits where they were lucky."""
    while (probe := maker(chain, habits, rng)) is not None and probe.reply.answer != probe.answer:
        pass  # ends: a teacher is right at times
    return probe


def _answered(problem: Problem, probes: Sequence[Probe], reply: Attempt, *, model: str) -> Trajectory:
    """The conversation with the kind of the last reply in the verdict's detail; a reply that breaks off ends for its length."""
    before: list[Message] = [turn for probe in probes for turn in dialogue(probe.question, probe.reply.text)]
    return teacher_trajectory(
        problem,
        (*before, *dialogue(problem.prompt, reply.text)),
        model=model,
        verdict=Verdict(status=status_of(reply.answer == problem.answer), method="procedural", detail=reply.kind),
        finish_reason="stop" if reply.answer is not None else "length",
        context="full" if probes else "direct",
    )


def _lesson(problem: Problem, messages: Sequence[Message], rules: str, context: Context = "direct") -> Trajectory:
    """A right conversation; the verdict's detail names the rules that it asks by."""
    verdict = Verdict(status="correct", method="procedural", detail=rules)
    return teacher_trajectory(problem, messages, model=_TEACHER, verdict=verdict, context=context)
