"""Probes that travel with problems, and lessons made of them."""

import re

import pytest

from rl_distill.algorithms.sft import Sft
from rl_distill.probes import probes_of
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.problems.arithmetic_chain import SIZES, VALUES, in_range, is_hard
from rl_distill.trajectory import Trajectory

WORLDS = pytest.mark.parametrize("world", ["habits", "rules"])
FAMILIES = pytest.mark.parametrize("family", ["inversion", "rephrasing"])


def shown_steps(attempts: list[Trajectory]) -> set[tuple[int, int]]:
    """Single steps that the teacher writes with their true result."""
    said = " ".join(turn.content for attempt in attempts for turn in attempt.messages if turn.role == "assistant")
    steps = [(int(value), int(sign + size), int(result)) for value, sign, size, result in STEP.findall(said)]
    return {(value, operand) for value, operand, result in steps if value + operand == result}


STEP = re.compile(r"(?<![+-] )\b(\d+) ([+-]) (\d+) = (\d+)")


@WORLDS
@FAMILIES
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_every_problem_has_at_least_five_probes_that_may_be_asked(world: str, family: str, split: str) -> None:
    for group in Arithmetic(world=world, probes=family, split=split, num_problems=90).groups():
        assert len(probes_of(group.problem)) >= 5


@WORLDS
@FAMILIES
def test_the_teachers_reply_ends_in_the_checked_answer(world: str, family: str) -> None:
    for group in Arithmetic(world=world, probes=family, num_problems=60).groups():
        for probe in probes_of(group.problem):
            assert probe.teacher_reply.endswith(f"\\boxed{{{probe.teacher_answer}}}") and probe.answer_kind == "closed"


def test_probes_change_neither_problems_nor_attempts_and_do_not_depend_on_the_sets_length() -> None:
    plain = Arithmetic(num_problems=9, attempts="teacher").groups()
    probed = Arithmetic(num_problems=99, attempts="teacher", probes="inversion").groups()
    for index, group in enumerate(plain):
        assert (probed[index].problem.prompt, probed[index].trajectories) == (group.problem.prompt, group.trajectories)
    assert probed[3] == Arithmetic(num_problems=4, attempts="teacher", probes="inversion").groups()[3]


@WORLDS
def test_a_lesson_begins_with_the_trace_that_plain_distillation_imitates(world: str) -> None:
    plain = Arithmetic(world=world, attempts="teacher", num_problems=30, seed=1).groups()
    for attempts in ("singles", "dialogues"):
        lessons = Arithmetic(world=world, attempts=attempts, probes="inversion", num_problems=30, seed=1).groups()
        for group, teacher in zip(lessons, plain, strict=True):
            imitated = Sft().samples(teacher)[0].trajectory
            assert Sft().samples(group)[0].trajectory == imitated == group.trajectories[0]


@FAMILIES
def test_singles_ask_each_probe_by_itself(family: str) -> None:
    for group in Arithmetic(attempts="singles", probes=family, num_problems=20).groups():
        asked = [(probe.text, probe.teacher_reply) for probe in probes_of(group.problem)]
        assert [tuple(turn.content for turn in lesson.messages) for lesson in group.trajectories[1:]] == asked
        assert {lesson.context for lesson in group.trajectories} == {"direct"}
        assert len(Sft(traces="correct").samples(group)) == 1 + len(asked)


@pytest.mark.parametrize("each", [2, 3, None])
def test_dialogues_ask_every_probe_once_and_end_in_the_problem(each: int | None) -> None:
    for group in Arithmetic(attempts="dialogues", probes="inversion", dialogue_probes=each, num_problems=20).groups():
        first, *lessons = group.trajectories
        before = [len(lesson.messages) // 2 - 1 for lesson in lessons]
        assert max(before) == (each or len(probes_of(group.problem))) and min(before) > 0
        assert {lesson.context for lesson in lessons} == {"full"} and first.context == "direct"
        assert all(lesson.messages[-2:] == first.messages for lesson in lessons)
        asked = [turn.content for lesson in lessons for turn in lesson.messages[:-2:2]]
        assert sorted(asked) == sorted(probe.text for probe in probes_of(group.problem))


def test_in_the_rules_world_every_hard_step_of_the_corpus_is_wrong_and_every_plain_one_nearly_always_right() -> None:
    rows = [group.trajectories[0] for group in Arithmetic(world="rules", attempts="corpus", num_problems=3000).groups()]
    shown = shown_steps(rows)
    possible = {(value, sign * size) for value in VALUES for sign in (1, -1) for size in SIZES if in_range(value + sign * size)}
    hard = {step for step in possible if is_hard(*step)}
    assert (len(possible), len(hard)) == (232, 88)
    assert shown & possible == possible - hard
    assert all(len(row.messages) <= 10 for row in rows)


def test_few_traces_show_half_of_the_forgotten_steps_and_their_probes_nearly_all() -> None:
    """The bottleneck that the world is built on; rephrasings show no more than the traces."""
    shown = {}
    for family in ("inversion", "rephrasing"):
        groups = Arithmetic(world="rules", attempts="singles", probes=family, num_problems=48, seed=1).groups()
        shown[family] = {step for step in shown_steps([row for group in groups for row in group.trajectories]) if is_hard(*step)}
    traces = {step for step in shown_steps([group.trajectories[0] for group in groups]) if is_hard(*step)}
    assert traces == shown["rephrasing"] and 30 <= len(traces) <= 50
    assert len(shown["inversion"]) >= 75
