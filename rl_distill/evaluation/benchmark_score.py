"""What graded attempts at a benchmark say about a student."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from rl_distill.errors import InputError
from rl_distill.evaluation.evaluator import summarize
from rl_distill.evaluation.intervals import Interval, pass_at_k
from rl_distill.evaluation.majority import majority_at_k
from rl_distill.rewards import Verifier
from rl_distill.trajectory import Group, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkScore:
    """
    accuracy            avg@k: mean over problems of the share of right attempts; the interval is clustered by problem
    pass_at             k -> unbiased chance that one of k attempts is right
    majority_at         k -> chance that the most frequent answer of k attempts is right, see `majority_at_k`
    num_judged          problems with an attempt that could be verified; the others are in no mean
    unverifiable        attempts that nobody could judge: they are left out, neither right nor wrong
    truncated_fraction  of the attempts, those that the token limit cut
    mean_tokens         of an attempt
    problem_accuracy    of each judged problem, by its id

    An entry of `pass_at` or `majority_at` is None where it is not known: a judged problem has fewer than k verified attempts, or
    the grader does not tell answers apart.
    """

    accuracy: Interval
    pass_at: dict[int, float | None]
    majority_at: dict[int, float | None]
    num_problems: int
    num_judged: int
    num_samples: int
    unverifiable: int
    truncated_fraction: float
    mean_tokens: float
    generated_tokens: int
    problem_accuracy: dict[str, float]


def attempt_numbers(num_samples: int, asked: Sequence[int] | None = None) -> tuple[int, ...]:
    """The k that are reported: those asked for, or 1, 2, 4, ... and the number of samples.

    Raises:
        InputError: one is larger than the number of samples, or below 1.
    """
    if asked is None:
        return tuple(sorted({2**power for power in range(num_samples.bit_length())} | {num_samples}))
    wrong = next((k for k in asked if not 1 <= k <= num_samples), None)
    if wrong is not None:
        problem = f"{wrong} is not in 1..{num_samples}, the number of samples at each problem"
        raise InputError("--k", problem, "raise --samples, or lower it")
    return tuple(sorted(set(asked)))


def score(groups: Sequence[Group], grader: Verifier, ks: Sequence[int]) -> BenchmarkScore:
    """
    Raises:
        RunError: not one attempt could be verified.
    """
    summary = summarize(groups)
    judged = [verified for group in groups if (verified := _verified(group))]
    fewest = min(map(len, judged))
    return BenchmarkScore(
        accuracy=summary.accuracy,
        pass_at={k: fmean(_pass_at(one, k) for one in judged) if k <= fewest else None for k in ks},
        majority_at={
            k: fmean(_majority_at(one, grader, k) for one in judged) if k <= fewest and grader.states_answers else None
            for k in ks
        },
        num_problems=len(groups),
        num_judged=len(judged),
        num_samples=summary.num_samples,
        unverifiable=summary.unverifiable,
        truncated_fraction=summary.truncated_fraction,
        mean_tokens=summary.mean_tokens,
        generated_tokens=summary.generated_tokens,
        problem_accuracy=summary.problem_accuracy,
    )


def score_to_dict(found: BenchmarkScore) -> dict[str, Any]:
    """As JSON has it: the numbers k are texts there."""
    plain = asdict(found)
    plain["accuracy"] = found.accuracy._asdict()
    for key in ("pass_at", "majority_at"):
        plain[key] = {str(k): value for k, value in plain[key].items()}
    return plain


def score_from_dict(plain: Mapping[str, Any]) -> BenchmarkScore:
    values = {key: plain[key] for key in BenchmarkScore.__dataclass_fields__}
    values["accuracy"] = Interval(**plain["accuracy"])
    for key in ("pass_at", "majority_at"):
        values[key] = {int(k): value for k, value in plain[key].items()}
    return BenchmarkScore(**values)


def _verified(group: Group) -> list[Trajectory]:
    return [attempt for attempt in group.trajectories if attempt.status in ("correct", "wrong")]


def _pass_at(verified: Sequence[Trajectory], k: int) -> float:
    return pass_at_k(len(verified), sum(attempt.status == "correct" for attempt in verified), k)


def _majority_at(verified: Sequence[Trajectory], grader: Verifier, k: int) -> float:
    """Right answers are one, whatever their spelling; wrong ones are the same where the grader spells them the same."""
    answers = [grader.stated_answer(attempt.response) for attempt in verified if attempt.status == "wrong"]
    votes = Counter(answer for answer in answers if answer is not None)
    return majority_at_k(len(verified) - len(answers), tuple(votes.values()), answers.count(None), k)
