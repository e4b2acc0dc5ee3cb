"""Measuring a model on benchmarks: behind `rl-distill evaluate` and `rl_distill.evaluate`."""

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from rl_distill import __version__
from rl_distill.config import dump, overridden, parse
from rl_distill.errors import InputError
from rl_distill.evaluation.benchmark import Benchmark, load_benchmark, problems_digest
from rl_distill.evaluation.benchmark_score import BenchmarkScore, attempt_numbers, score, score_from_dict, score_to_dict
from rl_distill.evaluation.evaluation_folder import EvaluationFolder
from rl_distill.evaluation.subject import Subject, find_subject
from rl_distill.models.loading import context_of, load_model
from rl_distill.rewards import WeightedRewards, score_groups
from rl_distill.rollout.collector import Prompt, Prompter
from rl_distill.rollout.engine import Engine, generate_checked
from rl_distill.rollout.engines import ENGINES
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.rollout.vllm_config import installed_vllm
from rl_distill.trajectory import Group, Trajectory

SCHEMA_VERSION = 1
ENGINE_PREFIX = "engine."


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """
    folder   where everything lies
    model    what the user called it
    scores   by benchmark
    notes    what a reader of the numbers has to know, a line each
    """

    folder: Path
    model: str
    scores: dict[str, BenchmarkScore]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
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


def evaluate(
    model: str | Path,
    benchmarks: Sequence[str | Path | Benchmark],
    *,
    num_samples: int | None = None,
    num_problems: int | None = None,
    ks: Sequence[int] | None = None,
    engine: Literal["hf", "vllm"] = "hf",
    seed: int = 0,
    output: str | Path | None = None,
    overrides: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> EvaluationReport:
    """Measure a model on benchmarks, or continue doing so: what lies in the folder already is not asked again.

    Everything is checked before anything is sampled. What is sampled is a function of the weights, the settings and the seed: on
    the same kind of machine a killed and continued evaluation ends with the same bytes as one that was not.

    Args:
        model: a folder in Hugging Face format, a hub name, a run's folder (its final student) or `RUN:STAGE`.
        benchmarks: names of those that come with the package, paths of YAML files (as `Path`), or values.
        num_samples: attempts at each problem; none is each benchmark's own number.
        num_problems: only the first so many of each benchmark; none is all.
        ks: the k of pass@k and maj@k; none is 1, 2, 4, ... and the number of samples.
        output: the folder; none is evaluations/MODEL.
        overrides: `engine.key=value` for the engine, any other `key.path=value` for every benchmark given by name or path.
        say: takes a line for the user.

    Raises:
        InputError: something that was asked for does not exist, does not fit the model, or differs from what the folder holds.
        RunError: sampling failed, or not one attempt at a benchmark could be judged.
    """
    subject = find_subject(str(model))
    config = _engine_config(engine, [text for text in overrides if text.startswith(ENGINE_PREFIX)])
    chosen = _chosen(benchmarks, [text for text in overrides if not text.startswith(ENGINE_PREFIX)])
    tokenizer, settings = subject.tokenizer(), subject.settings()
    context = context_of(settings) if isinstance(config, HfEngineConfig) else config.context(settings)
    tasks = [_task(one, num_samples, num_problems, ks, tokenizer, context) for one in chosen]
    record = {
        "model": subject.identity(tokenizer),
        "engine": dump(config),
        "seed": seed,
        "benchmarks": {task.benchmark.name: task.settings() for task in tasks},
    }
    place = Path(output) if output is not None else Path("evaluations") / subject.label
    with ExitStack() as stack:
        folder = stack.enter_context(closing(EvaluationFolder(place.expanduser(), record)))
        sampler = _Lazy(subject, tokenizer, config)
        stack.callback(sampler.close)
        results = folder.results()
        for task in tasks:
            graded = _attempts(task, folder, sampler, config.shard_size, seed, say)
            found = score(graded, task.benchmark.grader, task.ks)
            results[task.benchmark.name] = {**task.settings(), "caveats": list(task.benchmark.caveats), **score_to_dict(found)}
            folder.write_result(_result(subject, record, results))
    scores = {task.benchmark.name: score_from_dict(results[task.benchmark.name]) for task in tasks}
    return EvaluationReport(folder=place, model=str(model), scores=scores, notes=tuple(_notes(tasks, scores)))


def _chosen(benchmarks: Sequence[str | Path | Benchmark], overrides: Sequence[str]) -> list[Benchmark]:
    chosen = [one if isinstance(one, Benchmark) else load_benchmark(one, overrides) for one in benchmarks]
    names = [one.name for one in chosen]
    if not chosen:
        raise InputError("--benchmarks", "names none", "give at least one; `rl-distill evaluate --list` shows them")
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InputError("--benchmarks", f"{name!r} is there twice", "name each once")
    return chosen


def _engine_config(name: str, overrides: Sequence[str]) -> Any:
    if name not in ENGINES:
        raise InputError("--engine", f"is {name!r}", f"choose one of {', '.join(ENGINES)}")
    tree = overridden({"name": name}, [text.removeprefix(ENGINE_PREFIX) for text in overrides])
    try:
        return parse(ENGINES[name], tree)
    except InputError as error:
        raise InputError(f"{ENGINE_PREFIX}{error.field}", error.problem, error.remedy) from None


def _task(
    benchmark: Benchmark,
    num_samples: int | None,
    num_problems: int | None,
    ks: Sequence[int] | None,
    tokenizer: Any,
    context: int,
) -> _Task:
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
    return _Task(benchmark=benchmark, groups=groups, prompts=prompts, ks=reported)


class _Lazy:
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


def _attempts(
    task: _Task, folder: EvaluationFolder, sampler: _Lazy, requests_together: int, seed: int, say: Callable[[str], None]
) -> list[Group]:
    """All problems with their graded attempts, those that were asked before included."""
    name, size = task.benchmark.name, task.benchmark.num_samples
    together = max(1, requests_together // size)  # problems
    rewards = WeightedRewards((task.benchmark.grader,))
    with closing(folder.samples(name)) as samples:
        graded = samples.kept([prompt.problem.id for prompt in task.prompts], together)
        if graded:
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


def _result(subject: Subject, record: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"given": subject.given, "folder": str(subject.folder), **record["model"]},
        "engine": record["engine"],
        "seed": record["seed"],
        "environment": _environment(record["engine"]["name"]),
        "benchmarks": dict(results),
    }


def _environment(engine: str) -> dict[str, str]:
    """What numbers depend on beside the settings."""
    libraries = ("torch", "transformers", "tokenizers", "math_verify")
    found = {"rl_distill": __version__, "python": platform.python_version(), **{name: version(name) for name in libraries}}
    if engine == "vllm" and (vllm := installed_vllm()):
        found["vllm"] = " ".join(vllm)
    return {**found, "platform": platform.platform()}


def _notes(tasks: Sequence[_Task], scores: Mapping[str, BenchmarkScore]) -> list[str]:
    notes = []
    for task in tasks:
        name, found = task.benchmark.name, scores[task.benchmark.name]
        if found.num_judged < found.num_problems:
            notes.append(f"{name}: {found.num_problems - found.num_judged} problems have no attempt that could be judged")
        if found.truncated_fraction >= 0.05:
            notes.append(f"{name}: {found.truncated_fraction:.0%} of the attempts were cut by sampling.max_tokens")
        notes += [f"{name}: {caveat}" for caveat in task.benchmark.caveats]
    return notes
