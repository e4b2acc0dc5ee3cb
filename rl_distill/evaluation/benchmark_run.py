"""Measuring a model on benchmarks: behind `rl-distill evaluate` and `rl_distill.evaluate`."""

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rl_distill import __version__
from rl_distill.config import dump, overridden, parse
from rl_distill.errors import InputError
from rl_distill.evaluation.benchmark import Benchmark, load_benchmark
from rl_distill.evaluation.benchmark_score import BenchmarkScore, score, score_from_dict, score_to_dict
from rl_distill.evaluation.benchmark_task import BenchmarkTask, LazyEngine, graded_attempts, prepared
from rl_distill.evaluation.evaluation_folder import EvaluationFolder
from rl_distill.evaluation.evaluation_table import EVALUATION_HEADER, evaluation_numbers, evaluation_rows
from rl_distill.evaluation.stored_result import SCHEMA_VERSION
from rl_distill.evaluation.subject import Subject, find_subject
from rl_distill.frames import frame
from rl_distill.markdown_table import markdown
from rl_distill.models.loading import context_of
from rl_distill.rollout.engines import ENGINES
from rl_distill.rollout.hf_engine import HfEngineConfig
from rl_distill.rollout.vllm_config import installed_vllm

ENGINE_PREFIX = "engine."

if TYPE_CHECKING:
    import pandas


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

    @property
    def frame(self) -> "pandas.DataFrame":
        """A row for each benchmark: accuracy with its 95 % interval, pass@k, maj@k, lengths, counts."""
        return frame(evaluation_numbers(self.scores), "benchmark")

    def __str__(self) -> str:
        return "\n".join([self._table, *self._said])

    def _repr_markdown_(self) -> str:
        return "\n\n".join([self.model, self._table, *self._said])

    @property
    def _table(self) -> str:
        return markdown(EVALUATION_HEADER, evaluation_rows(self.scores))

    @property
    def _said(self) -> list[str]:
        return [f"note: {note}" for note in self.notes]


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
    tasks = [prepared(one, num_samples, num_problems, ks, tokenizer, context) for one in chosen]
    record = {
        "model": subject.identity(tokenizer),
        "engine": dump(config),
        "seed": seed,
        "benchmarks": {task.benchmark.name: task.settings() for task in tasks},
    }
    place = Path(output).expanduser() if output is not None else Path("evaluations") / subject.label
    with ExitStack() as stack:
        folder = stack.enter_context(closing(EvaluationFolder(place, record)))
        sampler = LazyEngine(subject, tokenizer, config)
        stack.callback(sampler.close)
        results = folder.results()
        for task in tasks:
            graded = graded_attempts(task, folder, sampler, config.shard_size, seed, say)
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


def _notes(tasks: Sequence[BenchmarkTask], scores: Mapping[str, BenchmarkScore]) -> list[str]:
    notes = []
    for task in tasks:
        name, found = task.benchmark.name, scores[task.benchmark.name]
        if found.num_judged < found.num_problems:
            notes.append(f"{name}: {found.num_problems - found.num_judged} problems have no attempt that could be judged")
        if found.truncated_fraction >= 0.05:
            notes.append(f"{name}: {found.truncated_fraction:.0%} of the attempts were cut by sampling.max_tokens")
        notes += [f"{name}: {caveat}" for caveat in task.benchmark.caveats]
    return notes
