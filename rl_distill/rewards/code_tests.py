"""Tests that a program has to pass, as a problem carries them, and whether what the program said is what was expected.

What the program said is text from an untrusted process: it is parsed into plain values and compared here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from rl_distill.errors import InputError
from rl_distill.trajectory import Problem

KEY = "tests"  # in a problem's metadata
_MAX_NUMBER = 400  # characters; longer tokens are compared as text
_REMEDY = 'write {"stdin": text, "stdout": text} or {"call": name, "arguments": [...], "expected": JSON value}'


@dataclass(frozen=True, slots=True)
class PrintTest:
    """The program reads `stdin` and has to print `stdout`."""

    stdin: str
    stdout: str

    @property
    def expected_length(self) -> int:
        return len(self.stdout)

    def passed(self, printed: str, tolerance: float) -> bool:
        """Line by line, white space at the ends apart; numbers with a fraction may differ by `tolerance` (see `_close`)."""
        wanted, given = _lines(self.stdout), _lines(printed)
        return len(wanted) == len(given) and all(
            line == other or _same_words(line.split(), other.split(), tolerance)
            for line, other in zip(wanted, given, strict=True)
        )


@dataclass(frozen=True, slots=True)
class CallTest:
    """A function of the program, `name` or `Class.method`, is called and has to return `expected`."""

    call: str
    arguments: Sequence[Any]
    expected: Any

    @property
    def expected_length(self) -> int:
        return len(json.dumps(self.expected))

    def passed(self, returned: str, tolerance: float) -> bool:
        """Compares JSON values: a tuple is a list, True is not 1, and fractions may differ by `tolerance` (see `_close`)."""
        try:
            value = json.loads(returned)
        except (ValueError, RecursionError):
            return False
        return _same_value(self.expected, value, tolerance)


def problem_tests(problem: Problem) -> list[PrintTest | CallTest]:
    """The tests of a problem, in order; none if it has none.

    Raises:
        InputError: one is malformed.
    """
    tests = problem.metadata.get(KEY) or []
    where = f"problem {problem.id!r}"
    if not isinstance(tests, list | tuple):
        raise InputError(where, f"has {KEY} of type {type(tests).__name__}", f"give a list: {_REMEDY}")
    return [_parsed(test, f"{where}, {KEY}[{number}]") for number, test in enumerate(tests)]


def _parsed(test: Any, where: str) -> PrintTest | CallTest:
    match test:
        case {"stdin": str(stdin), "stdout": str(stdout), **rest} if not rest:
            return PrintTest(stdin, stdout)
        case {"call": str(call), "arguments": list(arguments), "expected": expected, **rest} if not rest:
            _check_json({"arguments": arguments, "expected": expected}, where)
            return CallTest(call, arguments, expected)
    raise InputError(where, f"is {test!r:.80}, which is no test", _REMEDY)


def _check_json(value: Any, where: str) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(where, f"holds a value that JSON has not ({error})", _REMEDY) from None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_words(wanted: Sequence[str], given: Sequence[str], tolerance: float) -> bool:
    return len(wanted) == len(given) and all(
        word == other or _same_number(word, other, tolerance) for word, other in zip(wanted, given, strict=True)
    )


def _same_number(wanted: str, given: str, tolerance: float) -> bool:
    """Only a number that is expected with a fraction may be written in another way; a whole one is text."""
    if not _has_fraction(wanted) or len(given) > _MAX_NUMBER:
        return False
    try:
        return _close(float(Decimal(wanted)), float(Decimal(given)), tolerance)
    except (InvalidOperation, ValueError, OverflowError):
        return False


def _has_fraction(word: str) -> bool:
    return len(word) <= _MAX_NUMBER and "." in word


def _close(wanted: float, given: float, tolerance: float) -> bool:
    """Within the tolerance of the expected number, absolute or relative."""
    return abs(wanted - given) <= tolerance * max(1.0, abs(wanted)) if math.isfinite(given) else False


def _same_value(wanted: Any, given: Any, tolerance: float) -> bool:
    """The depth of what is expected bounds the depth of the comparison."""
    match wanted:
        case bool() | str() | None:
            return type(wanted) is type(given) and bool(wanted == given)
        case float():
            return _is_number(given) and _close(wanted, _as_float(given), tolerance)
        case int():
            return _is_number(given) and bool(wanted == given)
        case Mapping():
            if not isinstance(given, dict) or {str(key) for key in wanted} != set(given):
                return False
            return all(_same_value(value, given[str(key)], tolerance) for key, value in wanted.items())
        case _:
            same_length = isinstance(given, list) and len(given) == len(wanted)
            return same_length and all(_same_value(*pair, tolerance) for pair in zip(wanted, given, strict=True))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
