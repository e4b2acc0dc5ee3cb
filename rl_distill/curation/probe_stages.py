"""The stages that a block `probes` adds to a curation, each with what its rows depend on."""

from collections.abc import Callable, Sequence
from typing import Any

from rl_distill.config import dump
from rl_distill.curation.probe_filters import CONSISTENCY, DIFFICULTY, check_consistency, check_difficulty
from rl_distill.curation.probe_leaks import LEAKS, RISE, find_leaks, find_rises
from rl_distill.curation.probe_run import ProbeRun
from rl_distill.curation.probe_writing import ANSWER, WRITE, answer, write
from rl_distill.curation.probes import BaseStudent
from rl_distill.curation.stage_folder import Stage, StageResult
from rl_distill.curation.teachers import answers_depend_on
from rl_distill.trajectory import Group


def probe_stages(run: ProbeRun, evaluation: Any, verifiers: Any) -> list[Stage]:
    """The stages in their order.

    Args:
        evaluation: plain data that stands for what `run.contaminated` compares with.
        verifiers: versions of what compares answers.
    """
    probing = run.probing
    teacher = [answers_depend_on(probing.teacher), run.seed]
    texts = [dump(probing.sampling), _plain(probing.language), dump(run.reasoning)]
    graded = [dump(run.accuracy), verifiers, dump(probing.prompt), dump(run.reasoning)]
    found = [
        _stage(WRITE, [*teacher, *texts, dump(run.rules), probing.closed_instruction], write, run),
        _stage(LEAKS, evaluation, find_leaks, run),
        _stage(ANSWER, [*teacher, *texts], answer, run),
    ]
    if (consistency := probing.consistency) is not None:
        found.append(_stage(CONSISTENCY, [*teacher, *graded, dump(consistency)], check_consistency, run))
    if (student := probing.student) is not None:
        base = [answers_depend_on(student.model), run.seed]
        if student.rise is not None:
            found.append(_stage(RISE, [*base, *graded, dump(student.rise)], find_rises, run))
        found.append(_stage(DIFFICULTY, [*base, *graded, *_difficulty(student)], check_difficulty, run))
    return found


def _stage(name: str, settings: Any, make: Callable[[Sequence[Group], ProbeRun], StageResult], run: ProbeRun) -> Stage:
    return Stage(name, settings, lambda groups: make(groups, run))


def _difficulty(student: BaseStudent) -> list[Any]:
    judge = student.judge
    judged_by = None if judge is None else [answers_depend_on(judge.model), judge.max_tokens, judge.max_chars]
    return [dump(student.sampling), student.tau_hard, judged_by]


def _plain(value: Any) -> Any:
    return None if value is None else dump(value)
