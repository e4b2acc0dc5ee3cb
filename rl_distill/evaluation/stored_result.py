"""`evaluation.json` as it lies on disk: looked over before a number of it is believed."""

import json
from collections.abc import Mapping
from math import isclose
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from rl_distill.errors import InputError

RESULT = "evaluation.json"
SCHEMA_VERSION = 1
_AGAIN = "remove it and evaluate the same benchmarks again: what lies in samples/ is not asked again"

_Fraction = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0)]
_Number = Annotated[int, Field(ge=1)]
_strict = dataclass(config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False), frozen=True, kw_only=True)


@_strict
class StoredInterval:
    mean: _Fraction
    low: _Fraction
    high: _Fraction


@_strict
class StoredBenchmark:
    """The keys that `evaluation.schema.json` explains."""

    version: _Number
    prompt: dict[str, Any]
    sampling: dict[str, Any]
    grader: dict[str, Any]
    hash: str
    problems_hash: str
    num_samples: _Number
    caveats: list[str]
    accuracy: StoredInterval
    pass_at: dict[str, _Fraction | None]
    majority_at: dict[str, _Fraction | None]
    num_problems: _Number
    num_judged: _Number
    unverifiable: _Count
    truncated_fraction: _Fraction
    mean_tokens: Annotated[float, Field(ge=0)]
    generated_tokens: _Count
    problem_accuracy: dict[str, _Fraction]

    def __post_init__(self) -> None:
        if not len(self.problem_accuracy) == self.num_judged <= self.num_problems:
            raise ValueError(f"{len(self.problem_accuracy)} problems have an accuracy, and num_judged is {self.num_judged}")
        if not isclose(fmean(self.problem_accuracy.values()), self.accuracy.mean, abs_tol=1e-9):
            raise ValueError("accuracy.mean is not the mean of problem_accuracy")


@_strict
class StoredResult:
    schema_version: int
    model: dict[str, str]
    engine: Annotated[dict[str, Any], Field(min_length=1)]
    seed: int
    environment: dict[str, str]
    benchmarks: dict[str, StoredBenchmark]


def read_result(path: Path) -> dict[str, Any]:
    """Plain data, as it was written.

    Raises:
        InputError: it cannot be read, is damaged, or another version of the package wrote it.
    """
    plain = read_object(path, _AGAIN)
    version = plain.get("schema_version")
    if isinstance(version, int) and version != SCHEMA_VERSION:
        problem = f"has schema version {version}, and this rl_distill reads {SCHEMA_VERSION}"
        raise InputError(str(path), problem, f"use the rl_distill that wrote it, or {_AGAIN}")
    try:
        TypeAdapter(StoredResult).validate_json(json.dumps(plain))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError(str(path), f"is damaged ({place}: {problem})", _AGAIN) from None
    return plain


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        InputError: it cannot be read, or holds none; with this remedy.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", "make it readable") from None
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is damaged ({error})", remedy) from None
    if not isinstance(plain, Mapping):
        raise InputError(str(path), f"is damaged (it holds a {type(plain).__name__})", remedy)
    return dict(plain)
