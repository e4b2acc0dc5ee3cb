"""Sampling a student on held-out problems and counting what is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rl_distill.config import config, setting
from rl_distill.errors import RunError
from rl_distill.evaluation.intervals import Interval, clustered_interval, pass_at_k
from rl_distill.problems import AnyProblemSet
from rl_distill.rewards import Accuracy, AnyVerifier, Verifier, WeightedRewards, score_groups
from rl_distill.rollout.collector import Prompter
from rl_distill.rollout.engine import Engine, Request, Sampling, generate_checked
from rl_distill.trajectory import Group, Trajectory


@config
class Evaluation:
    """What every student of a run is measured on. The same seeds are used for each, so differences are paired."""

    problems: AnyProblemSet = setting(about="held-out problems")
    num_samples: int = setting(4, about="attempts at each problem", ge=1)
    sampling: Sampling = setting(Sampling(), about="how attempts are sampled")
    verifiers: tuple[AnyVerifier, ...] = setting(
        (Accuracy(),), about="how answers are graded: each problem by those that can judge it", min_length=1
    )
    every_steps: int | None = setting(
        None, about="evaluate within a stage too, each so many steps; none evaluates at its end", ge=1
    )

    def __post_init__(self) -> None:
        names = [verifier.name for verifier in self.verifiers]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ValueError(f"verifiers: {name!r} is there twice: keep one of them")
        check_counted(self.verifiers, "verifiers")


def check_counted(verifiers: Sequence[Verifier], key: str) -> None:
    """
    Raises:
        ValueError: a verifier, under this key, says what its verdicts are worth where they are only counted.
    """
    if any((verifier.correct, verifier.wrong, verifier.weight) != (1.0, 0.0, 1.0) for verifier in verifiers):
        raise ValueError(f"{key}: correct, wrong and weight have no effect here, where verdicts are counted: drop them")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """Accuracy and what it rests on; `problem_accuracy` maps a problem's id to the mean of its verified attempts."""

    accuracy: Interval
    num_problems: int
    num_samples: int
    unverifiable: int
    truncated_fraction: float
    mean_tokens: float
    generated_tokens: int
    problem_accuracy: dict[str, float]
    pass_at: dict[int, float]  # k -> chance that one of k attempts is right

    def metrics(self) -> dict[str, float]:
        return {
            "evaluation/accuracy": self.accuracy.mean,
            "evaluation/low": self.accuracy.low,
            "evaluation/high": self.accuracy.high,
            "evaluation/response_tokens": self.mean_tokens,
            "evaluation/truncated_fraction": self.truncated_fraction,
            "evaluation/unverifiable": float(self.unverifiable),
        }


class Evaluator:
    """Puts every problem to an engine, the same way each time."""

    def __init__(self, settings: Evaluation, prompter: Prompter, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.prompts = prompter.prompts(
            settings.problems.groups(), settings.sampling, field="evaluation.problems", verifiers=settings.verifiers
        )
        for verifier in settings.verifiers:
            verifier.check_machine()

    def evaluate(self, engine: Engine) -> tuple[EvaluationResult, list[Group]]:
        """The result, and the graded attempts it was computed from."""
        graded = self.graded(generate_checked(engine, self.requests()))
        return summarize(graded), graded

    def requests(self) -> list[Request]:
        """`num_samples` of each problem, one problem after another."""
        return [
            prompt.request(self.settings.sampling, self.seed, "evaluation", sample)
            for prompt in self.prompts
            for sample in range(self.settings.num_samples)
        ]

    def graded(self, attempts: Sequence[Trajectory]) -> list[Group]:
        """Attempts in the order of their requests."""
        size = self.settings.num_samples
        groups = [
            Group(problem=prompt.problem, trajectories=tuple(attempts[index * size : (index + 1) * size]))
            for index, prompt in enumerate(self.prompts)
        ]
        return score_groups(groups, WeightedRewards(self.settings.verifiers))


def summarize(groups: Sequence[Group]) -> EvaluationResult:
    """Count graded groups. An unverifiable attempt is neither right nor wrong and is left out of its problem's mean.

    Raises:
        RunError: not one attempt could be verified.
    """
    attempts = [trajectory for group in groups for trajectory in group.trajectories]
    verified = {
        group.problem.id: [
            attempt.status == "correct" for attempt in group.trajectories if attempt.status in ("correct", "wrong")
        ]
        for group in groups
    }
    known = {problem: answers for problem, answers in verified.items() if answers}
    means = {problem: sum(answers) / len(answers) for problem, answers in known.items()}
    if not means:
        raise RunError(
            f"evaluation: none of {len(attempts)} attempts could be verified, so there is no accuracy; check the gold answers"
        )
    tokens = [trajectory.num_sampled for trajectory in attempts]
    return EvaluationResult(
        accuracy=clustered_interval(list(means.values())),
        num_problems=len(means),
        num_samples=max(len(group.trajectories) for group in groups),
        unverifiable=sum(trajectory.status == "unverifiable" for trajectory in attempts),
        truncated_fraction=sum(trajectory.finish_reason == "length" for trajectory in attempts) / len(attempts),
        mean_tokens=sum(tokens) / len(tokens),
        generated_tokens=sum(tokens),
        problem_accuracy=means,
        pass_at=_pass_at(list(known.values())),
    )


def _pass_at(answers: Sequence[Sequence[bool]]) -> dict[int, float]:
    """Mean unbiased pass@k for k = 1, 2, 4, ... as far as every problem has so many verified attempts."""
    fewest = min(map(len, answers))
    sizes = [2**power for power in range(fewest.bit_length()) if 2**power <= fewest]
    return {k: sum(pass_at_k(len(one), sum(one), k) for one in answers) / len(answers) for k in sizes}


def result_to_dict(result: EvaluationResult) -> dict[str, Any]:
    """The `evaluation` of a stage's `result.json`."""
    return {
        "accuracy": result.accuracy.mean,
        "low": result.accuracy.low,
        "high": result.accuracy.high,
        "num_problems": result.num_problems,
        "num_samples": result.num_samples,
        "unverifiable": result.unverifiable,
        "truncated_fraction": result.truncated_fraction,
        "mean_tokens": result.mean_tokens,
        "generated_tokens": result.generated_tokens,
        "pass_at": result.pass_at,
        "problem_accuracy": result.problem_accuracy,
    }
