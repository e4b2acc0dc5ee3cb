"""Distributions of a teacher that came with a data set, seen to be what an algorithm compares the student with."""

import math
from collections.abc import Sequence
from dataclasses import replace

from rl_distill.batch import Candidates
from rl_distill.errors import InputError
from rl_distill.trajectory import TEACHER_TEMPERATURE, TEACHER_VOCABULARY, Trajectory


def recorded_candidates(attempt: Trajectory, candidates: Candidates, vocabulary: str, *, field: str) -> Trajectory:
    """The attempt with as many of its recorded candidates as are compared; the others go to the rest.

    Args:
        vocabulary: digest of the student's.
        field: the recipe key of the source, to name in an error.

    Raises:
        InputError: nothing is recorded, or for another tokenizer, at another temperature or for fewer tokens.
    """
    ids, logprobs = attempt.candidate_ids, attempt.teacher_candidate_logprobs
    where = f"an attempt at problem {attempt.problem_id!r}"
    if ids is None or logprobs is None:
        remedy = "curate it with generate.teacher_columns, or name a model as `teacher`"
        raise InputError(field, f"{where} has no recorded log-probs of a teacher", remedy)
    found = attempt.metadata.get(TEACHER_VOCABULARY)
    if found != vocabulary:
        problem = f"{where} has log-probs of a teacher with another vocabulary ({found}) than the student's ({vocabulary})"
        raise InputError(field, problem, "take a student with the teacher's tokenizer")
    algorithm = f"{field.removesuffix('.source')}.algorithm"
    if (at := attempt.metadata.get(TEACHER_TEMPERATURE)) != candidates.temperature:
        problem = f"is {candidates.temperature:g}, and {where} has log-probs recorded at {at}"
        raise InputError(f"{algorithm}.temperature", problem, f"set it to {at}, or name a model as `teacher`")
    fewest = min((len(row) for row, mine in zip(ids, attempt.sampled, strict=True) if mine), default=candidates.count)
    if fewest < candidates.count:
        problem = f"is {candidates.count}, and {where} has {fewest} recorded"
        raise InputError(f"{algorithm}.num_candidates", problem, f"set it to {fewest}, or less")
    return replace(
        attempt,
        candidate_ids=tuple(row[: candidates.count] for row in ids),
        teacher_candidate_logprobs=tuple(_narrowed(row, candidates.count) for row in logprobs),
    )


def _narrowed(logprobs: Sequence[float], count: int) -> tuple[float, ...]:
    """The first `count` log-probs, and the log of the mass of all after them, the last of which is the rest's; () stays ()."""
    if len(logprobs) <= count + 1:
        return tuple(logprobs)
    return (*logprobs[:count], math.log(math.fsum(map(math.exp, logprobs[count:]))))
