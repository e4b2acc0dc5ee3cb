"""Reading what somebody else wrote: a part that cannot be read is said and left out, the rest of the report stays."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from yaml import YAMLError

from rl_distill.errors import InputError

Found = TypeVar("Found")
Given = ParamSpec("Given")
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, YAMLError)


def readable(
    notes: list[str], what: str, otherwise: Found, read: Callable[Given, Found], *given: Given.args, **named: Given.kwargs
) -> Found:
    """What `read` finds with what it is given; `otherwise` where a file is missing, damaged or of another version.

    The reason goes to `notes`, after `what`.
    """
    try:
        return read(*given, **named)
    except InputError as error:
        notes.append(f"{what}: {error}")
    except DAMAGED as error:
        notes.append(f"{what}: cannot be read ({type(error).__name__}: {_line(error)}); it is damaged or of another version")
    return otherwise


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
