"""Benchmarks as data: a YAML file says which problems, put how, sampled how often, graded by what, and under which version."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rl_distill.config import config, dump, parse, read_yaml, setting
from rl_distill.errors import InputError
from rl_distill.evaluation.evaluator import check_counted
from rl_distill.problems import AnyProblemSet
from rl_distill.rewards import AnyVerifier
from rl_distill.rollout.engine import Sampling
from rl_distill.text import PromptFormat
from rl_distill.trajectory import Group

FOLDER = Path(__file__).parent / "benchmarks"
MACHINE_KEYS = ("workers",)  # of a grader: how fast it is, not what it finds


@config
class Benchmark:
    """A version is a promise: any change of prompt, sampling, grader or problems that moves scores gets another one.

    The student's own prompt format is not used: every student is asked in the same words.
    """

    name: str = setting(about="as `--benchmarks` calls it, and what names its files", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: int = setting(about="changes whenever scores may no longer be compared", ge=1)
    about: str = setting(about="what it asks of a student")
    source: str = setting(about="where the problems, and the sampling below, come from")
    license: str = setting(about="of the problems")
    caveats: tuple[str, ...] = setting((), about="what a reader of its numbers has to know")
    problems: AnyProblemSet = setting(about="what is asked")
    published_sizes: tuple[int, ...] = setting(
        (), about="numbers of problems that its public copies have; any other is refused, and none looks at nothing"
    )
    prompt: PromptFormat = setting(PromptFormat(), about="how a problem is put")
    sampling: Sampling = setting(about="how attempts are sampled")
    num_samples: int = setting(about="attempts at each problem", ge=1)
    grader: AnyVerifier = setting(about="what judges an answer")

    def __post_init__(self) -> None:
        check_counted((self.grader,), "grader")

    def groups(self, num_problems: int | None = None) -> Sequence[Group]:
        """The problems, each with what its grader judges by.

        Args:
            num_problems: only the first so many.

        Raises:
            InputError: they cannot be read, are not as many as published or fewer than asked for, or one has no gold answer.
        """
        try:
            groups = self.problems.groups()
            lacking = next((group.problem.id for group in groups if not self.grader.can_judge(group.problem)), None)
        except InputError as error:
            raise InputError(f"benchmark {self.name!r}: {error.field}", error.problem, error.remedy) from None
        if lacking is not None:
            problem = f"problem {lacking!r} has no {self.grader.evidence}"
            raise InputError(f"benchmark {self.name!r}", problem, "give it, or drop the row")
        if self.published_sizes and len(groups) not in self.published_sizes:
            known = " or ".join(map(str, self.published_sizes))
            problem = f"{len(groups)} problems with a gold answer were found, and version {self.version} has {known}"
            raise InputError(f"benchmark {self.name!r}", problem, f"mend the file, or say published_sizes=[{len(groups)}]")
        if num_problems is not None and num_problems > len(groups):
            problem = f"is {num_problems}, and benchmark {self.name!r} has {len(groups)}"
            raise InputError("--problems", problem, "lower it, or leave it out")
        return [replace(group, trajectories=()) for group in groups[:num_problems]]

    def terms(self) -> dict[str, Any]:
        """What beside the problems decides its scores, as plain data: two evaluations are compared only where it is equal."""
        grader = {key: value for key, value in dump(self.grader).items() if key not in MACHINE_KEYS}
        return {"version": self.version, "prompt": dump(self.prompt), "sampling": dump(self.sampling), "grader": grader}

    def digest(self, groups: Sequence[Group]) -> str:
        """SHA-256 of everything that decides its scores, the problems' content among it."""
        return _sha256({"name": self.name, **self.terms(), "problems": problems_digest(groups)})


def problems_digest(groups: Sequence[Group]) -> str:
    """SHA-256 of what is asked and what is right, whatever the order."""
    return _sha256(sorted((group.problem.id, group.problem.prompt, group.problem.answer or "") for group in groups))


def benchmark_names() -> list[str]:
    """Those that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_benchmark(name: str | Path, overrides: Sequence[str] = ()) -> Benchmark:
    """A benchmark by its name, or from a YAML file of one's own.

    Args:
        overrides: `key.path=value`, as for a recipe.

    Raises:
        InputError: there is none of that name or path, or it is malformed.
    """
    path = name if isinstance(name, Path) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        if isinstance(name, Path):
            raise InputError("--benchmark-file", f"there is no file {str(path)!r}", "give a YAML file with a benchmark's keys")
        near = get_close_matches(name, benchmark_names(), n=1)
        remedy = f"did you mean {near[0]!r}? " if near else ""
        raise InputError("--benchmarks", f"there is none named {name!r}", f"{remedy}choose from {', '.join(benchmark_names())}")
    return parse(Benchmark, read_yaml(path, overrides))


def _sha256(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
