"""What pydantic finds wrong, in the words of a recipe: the key's path, its value, the remedy."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from rl_distill.config.annotations import fields_at, walk
from rl_distill.errors import InputError


def input_error(cls: type, tree: Any, errors: Sequence[ErrorDetails]) -> InputError:
    """The error to show first: a misspelt key explains a missing one, and a mapping was not meant as a text."""
    meant = [error for error in errors if not (error["type"] == "string_type" and isinstance(error["input"], Mapping))]
    error = min(meant or errors, key=lambda error: _ORDER.get(error["type"], 1))
    location, kind, given = error["loc"], error["type"], error["input"]
    path = _path(cls, tree, location)
    if kind in _UNKNOWN:
        known = fields_at(cls, location[:-1])
        near = get_close_matches(str(location[-1]), known, n=1)
        return InputError(path, "is not a known key", f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}")
    if kind in _MISSING:
        return InputError(path, "is missing", "add it; `rl-distill recipes NAME` explains every key")
    if kind == "union_tag_not_found":
        return InputError(f"{path}.name", "is missing", "add it; it says which kind of thing this is")
    if kind == "union_tag_invalid":
        return _unknown_choice(f"{path}.name", error["ctx"]["tag"], error["ctx"]["expected_tags"])
    if kind == "value_error":
        return _objection(path, fields_at(cls, location), given, str(error["ctx"]["error"]))
    if kind == "literal_error":
        return _unknown_choice(path, given, str(error["ctx"]["expected"]).replace(" or ", ", "))
    expected = _EXPECTED.get(kind, "something else").format(**error.get("ctx", {}))
    return InputError(path or "recipe", f"is {_shown(given)}", f"give {expected}")


_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_ORDER = {**dict.fromkeys(_UNKNOWN, 0), **dict.fromkeys(_MISSING, 2), "too_short": 3}
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text (in quotes where YAML would read a number)",
    "tuple_type": "a list",
    "dataclass_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys, among them `name`",
    "dict_type": "a mapping of keys, among them `name`",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number not below {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number not above {le:g}",
    "too_short": "a list of {min_length} or more",
    "string_pattern_mismatch": "a text of the form {pattern}",
}


def _unknown_choice(path: str, given: Any, expected: str) -> InputError:
    """`expected` is pydantic's list of the choices, in quotes."""
    names = [name.strip(" '") for name in expected.split(",")]
    near = get_close_matches(str(given), names, n=1)
    remedy = f"choose one of {', '.join(names)}"
    return InputError(path, f"is {_shown(given)}", f"did you mean {near[0]!r}? {remedy}" if near else remedy)


def _objection(path: str, known: Sequence[str], given: Any, message: str) -> InputError:
    """What a check of ours objects to, worded `key.path is wrong: remedy` (or with a semicolon); the path may be left out."""
    first, _, rest = message.partition(" ")
    if first.rstrip(":").split(".")[0] in known:
        path, message = f"{path}.{first.rstrip(':')}".lstrip("."), rest
    separator = "; " if "; " in message else ": "
    problem, found, remedy = message.rpartition(separator)
    if not found:
        problem, remedy = ("is refused" if isinstance(given, Mapping) else f"is {_shown(given)}"), message
    return InputError(path or "recipe", problem, remedy)


def _shown(given: Any) -> str:
    """A value as YAML would have it."""
    return "a mapping of keys" if isinstance(given, Mapping) else repr(given) if isinstance(given, str) else json.dumps(given)


def _path(cls: type, tree: Any, location: tuple[int | str, ...]) -> str:
    """The path as an override would write it: members of a list by their name, and without what pydantic adds for unions."""
    node, parts = tree, []
    for part, _ in walk(cls, location):
        members = node if isinstance(node, list) else []
        node = _member(node, part)
        name = node.get("name") if isinstance(node, Mapping) else None
        unique = [_member(member, "name") for member in members].count(name) == 1
        parts.append(str(name) if isinstance(part, int) and isinstance(name, str) and unique else str(part))
    return ".".join(parts)


def _member(node: Any, part: int | str) -> Any:
    if isinstance(node, Mapping):
        return node.get(part)
    return node[part] if isinstance(node, list) and isinstance(part, int) and part < len(node) else None
