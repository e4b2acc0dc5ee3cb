"""Metrics that an algorithm's code can emit: the paths written in its methods and in the functions that they call."""

from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from rl_distill.algorithms.base import Algorithm
from rl_distill.tracking.metric_names import METRICS

PACKAGE = "rl_distill.algorithms"


def emitted_metrics(algorithm: type[Algorithm]) -> list[str]:
    """In the order of the table of metrics."""
    seen: set[Any] = set()
    texts: set[str] = set()
    for cls in algorithm.__mro__:
        for value in vars(cls).values():
            function = value.fget if isinstance(value, property) else value
            if cls.__module__.startswith(PACKAGE) and isinstance(function, FunctionType):
                texts |= set(_texts(function, seen))
    return [path for path in METRICS if path in texts]


def _texts(function: FunctionType, seen: set[Any]) -> Iterator[str]:
    if function in seen:
        return
    seen.add(function)
    for code in _codes(function.__code__):
        for constant in code.co_consts:
            yield from (part for part in (constant if isinstance(constant, tuple) else (constant,)) if isinstance(part, str))
        for name in code.co_names:
            called = function.__globals__.get(name)
            if isinstance(called, FunctionType) and called.__module__.startswith(PACKAGE):
                yield from _texts(called, seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
