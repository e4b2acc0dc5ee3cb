"""Distributions of a teacher that came with a data set, seen to be what an algorithm compares the student with."""

import math
from collections.abc import Sequence
from dataclasses import replace

from rl_distill.batch import Candidates
from rl_distill.errors import InputError
from rl_distill.trajectory import TEACHER_TEMPERATURE, TEACHER_VOCABULARY, Trajectory

MASS_SLACK = 1e-3  # what probabilities may add up to beside 1: log-probs of float32, and a rest that is never quite 0


def recorded_candidates(attempt: Trajectory, candidates: Candidates, vocabulary: str, size: int, *, field: str) -> Trajectory:
    """The attempt with as many of its recorded candidates as are compared; the others go to the rest.

    Args:
        vocabulary: digest of the student's.
        size: tokens of it.
        field: the recipe key of the source, to name in an error.

    Raises:
        InputError: nothing is recorded, or for another tokenizer, at another temperature or for fewer tokens, or what is recorded
            are no distributions.
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
    if (at := attempt.metadata.get(TEACHER_TEMPERATURE)) is None:
        problem = f"{where} does not say at which temperature its teacher's log-probs are"
        raise InputError(field, problem, f"write it into the attempt's metadata as {TEACHER_TEMPERATURE!r}")
    if at != candidates.temperature:
        problem = f"is {candidates.temperature:g}, and {where} has log-probs recorded at {at}"
        raise InputError(f"{algorithm}.temperature", problem, f"set it to {at}, or name a model as `teacher`")
    fewest = min((len(row) for row, mine in zip(ids, attempt.sampled, strict=True) if mine), default=candidates.count)
    if fewest < candidates.count:
        problem = f"is {candidates.count}, and {where} has {fewest} recorded"
        raise InputError(f"{algorithm}.num_candidates", problem, f"set it to {fewest}, or less")
    wrong = next((f for row in zip(attempt.sampled, ids, logprobs, strict=True) if (f := _fault(*row, size))), None)
    if wrong:
        raise InputError(field, f"{where} has log-probs of a teacher that are no distribution: {wrong}", "record it anew")
    return replace(
        attempt,
        candidate_ids=tuple(row[: candidates.count] for row in ids),
        teacher_candidate_logprobs=tuple(_narrowed(row, candidates.count) for row in logprobs),
    )


def _fault(mine: bool, ids: Sequence[int], logprobs: Sequence[float], size: int) -> str:
    """What is wrong with what is recorded at one token, in words; "" for a distribution."""
    if not mine:
        return ""
    if len(set(ids)) < len(ids) or not all(0 <= token < size for token in ids):
        return f"its candidates {list(ids)[:8]} are not distinct tokens of {size}"
    if len(logprobs) != len(ids) + (len(ids) < size):
        return f"{len(logprobs)} log-probs for {len(ids)} candidates and all other tokens"
    mass = math.fsum(math.exp(min(value, 1.0)) for value in logprobs)
    return "" if abs(mass - 1.0) <= MASS_SLACK else f"its probabilities add up to {mass:g}"


def _narrowed(logprobs: Sequence[float], count: int) -> tuple[float, ...]:
    """The first `count` log-probs, and the log of the mass of all after them, the last of which is the rest's; () stays ()."""
    if len(logprobs) <= count + 1:
        return tuple(logprobs)
    return (*logprobs[:count], math.log(math.fsum(map(math.exp, logprobs[count:]))))
