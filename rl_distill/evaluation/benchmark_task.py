"""One benchmark on its way through an engine: its problems as prompts, and its attempts graded and kept shard by shard."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from rl_distill.errors import InputError
from rl_distill.evaluation.benchmark import Benchmark, problems_digest
from rl_distill.evaluation.benchmark_score import attempt_numbers
from rl_distill.evaluation.evaluation_folder import EvaluationFolder
from rl_distill.evaluation.subject import Subject
from rl_distill.models.loading import load_model
from rl_distill.rewards import WeightedRewards, score_groups
from rl_distill.rollout.collector import Prompt, Prompter
from rl_distill.rollout.engine import Engine, generate_checked
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.trajectory import Group, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkTask:
    """One benchmark, ready to be asked."""

    benchmark: Benchmark
    groups: Sequence[Group]
    prompts: Sequence[Prompt]
    ks: tuple[int, ...]

    def settings(self) -> dict[str, Any]:
        """What an evaluation is continued under, and compared by."""
        return {
            **self.benchmark.terms(),
            "problems_hash": problems_digest(self.groups),
            "num_samples": self.benchmark.num_samples,
            "hash": self.benchmark.digest(self.groups),
        }


def prepared(
    benchmark: Benchmark,
    num_samples: int | None,
    num_problems: int | None,
    ks: Sequence[int] | None,
    tokenizer: Any,
    context: int,
) -> BenchmarkTask:
    """A benchmark put to a tokenizer, with everything checked that can be before sampling.

    Args:
        num_samples, num_problems, ks: as for `evaluate`.
        context: longest sequence that will be sampled, in tokens.

    Raises:
        InputError: a number does not fit, or the problems cannot be read, judged or put to this tokenizer.
    """
    if num_samples is not None:
        if num_samples < 1:
            raise InputError("--samples", f"is {num_samples}", "give 1 or more")
        benchmark = replace(benchmark, num_samples=num_samples)
    if num_problems is not None and num_problems < 1:
        raise InputError("--problems", f"is {num_problems}", "give 1 or more")
    reported = attempt_numbers(benchmark.num_samples, ks)
    groups = benchmark.groups(num_problems)
    benchmark.grader.check_machine()
    prompter = Prompter(tokenizer=tokenizer, format=benchmark.prompt, max_context=context)
    field = f"benchmark {benchmark.name!r}"
    prompts = prompter.prompts(groups, benchmark.sampling, field=field, verifiers=(benchmark.grader,))
    return BenchmarkTask(benchmark=benchmark, groups=groups, prompts=prompts, ks=reported)


class LazyEngine:
    """The engine, started when the first question is put: a finished evaluation is read without one."""

    def __init__(self, subject: Subject, tokenizer: Any, config: Any) -> None:
        self._subject, self._tokenizer, self._config = subject, tokenizer, config
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        if self._engine is None:
            folder, name = str(self._subject.folder), self._subject.label
            if isinstance(self._config, HfEngineConfig):
                self._engine = HfEngine(load_model(folder, field="MODEL"), self._tokenizer, self._config, name=name)
            else:
                from rl_distill.rollout.vllm_engine import VllmEngine

                self._engine = VllmEngine(folder, self._tokenizer, self._config, name=name)
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


def graded_attempts(
    task: BenchmarkTask,
    folder: EvaluationFolder,
    sampler: LazyEngine,
    shard_size: int,
    seed: int,
    say: Callable[[str], None],
) -> list[Group]:
    """All problems with their graded attempts, those that were asked before included.

    Args:
        shard_size: of the engine: requests that are sampled together, and kept together.
        seed: with benchmark, problem and sample the address of each attempt.
        say: takes a line for the user, at each shard.
    """
    name, size = task.benchmark.name, task.benchmark.num_samples
    together = max(1, shard_size // size)  # problems
    rewards = WeightedRewards((task.benchmark.grader,))
    with closing(folder.samples(name)) as samples:
        graded = samples.kept([prompt.problem.id for prompt in task.prompts], size, together)
        if name in folder.results() and len(graded) < len(task.prompts):
            lost = len(task.prompts) - len(graded)
            say(f"{name}: was finished, and lost {lost} of its {len(task.prompts)} problems since: they are asked again")
        elif graded:
            say(f"{name}: {len(graded)} of {len(task.prompts)} problems were asked before")
        while len(graded) < len(task.prompts):
            shard = task.prompts[len(graded) : len(graded) + together]
            asked = [
                prompt.request(task.benchmark.sampling, seed, "benchmark", name, sample)
                for prompt in shard
                for sample in range(size)
            ]
            attempts = [_recorded(attempt) for attempt in generate_checked(sampler.engine(), asked)]
            groups = [
                Group(problem=prompt.problem, trajectories=tuple(attempts[place * size : (place + 1) * size]))
                for place, prompt in enumerate(shard)
            ]
            fresh = score_groups(groups, rewards)
            samples.add(fresh)
            graded += fresh
            say(f"{name}: {len(graded)} of {len(task.prompts)} problems")
    return graded


def _recorded(attempt: Trajectory) -> Trajectory:
    """An attempt without what only training reads, which would be most of the file."""
    return replace(attempt, behavior_logprobs=None, policy_versions=None)
