"""Strict configuration: YAML and dotted overrides through OmegaConf into frozen pydantic dataclasses.

A configuration class lives beside the code it configures. It is written as

    @config
    class Sampling:
        temperature: float = setting(1.0, about="softmax temperature", source="arXiv:2501.12948", gt=0)

and every key it does not know is an error that names the nearest one it does.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform, get_args, get_origin

import pydantic
import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from rl_distill.errors import InputError

T = TypeVar("T")


def setting(default: Any = ..., *, about: str, unit: str = "", source: str = "", **limits: Any) -> Any:
    """A documented key: its default, what it means, its unit, and the paper or code that the default comes from."""
    extra: dict[str, Any] = {key: text for key, text in (("unit", unit), ("source", source)) if text}
    return Field(default, description=about, json_schema_extra=extra or None, **limits)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def config(cls: type[T]) -> type[T]:
    """Class decorator: a frozen, keyword-only pydantic dataclass that refuses unknown keys."""
    return pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))(cls)  # type: ignore[return-value]


def one_of(table: Mapping[str, type]) -> Any:
    """The type of a key whose `name` picks a class from a table."""
    classes = tuple(table.values())
    return Annotated[reduce(or_, classes), Field(discriminator="name")] if len(classes) > 1 else classes[0]


def read_yaml(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The tree of a YAML file after `key.path=value` overrides and `${...}` interpolation; `1e-6` is a number."""
    try:
        tree = OmegaConf.load(path)
    except FileNotFoundError:
        raise InputError("recipe", f"there is no file {str(path)!r}", "`rl-distill recipes` lists those that exist") from None
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise InputError(str(path), f"is not valid YAML ({_one_line(error)})", "mend the file at that line") from None
    except OSError as error:
        raise InputError("recipe", f"{str(path)!r} cannot be read ({error.strerror})", "give a readable YAML file") from None
    if not isinstance(tree, DictConfig) or not tree:
        raise InputError(str(path), "holds no mapping of keys", "start it with `name: ...`")
    for override in overrides:
        _apply(tree, override)
    try:
        plain = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(str(path), f"has an interpolation that fails ({_one_line(error)})", "define what it refers to") from None
    return plain  # type: ignore[return-value]


def parse(cls: type[T], tree: Mapping[str, Any]) -> T:
    """Validate a plain tree into a configuration class, strictly: no string is taken for a number, no key goes unread."""
    try:
        return TypeAdapter(cls).validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        raise _input_error(cls, tree, error.errors()) from None


def dump(value: Any) -> Any:
    """The plain tree of a configuration value; `parse(type(value), dump(value)) == value`."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def json_schema(cls: type) -> dict[str, Any]:
    """JSON schema of a configuration class, for editors."""
    return TypeAdapter(cls).json_schema()


def keys(cls: type, prefix: str = "") -> Iterator[dict[str, str]]:
    """Every key below a class: `key`, `type`, `default`, `unit`, `about`, `source`; choices appear as `key[name]`."""
    for field in fields(cls):
        info = cls.__pydantic_fields__[field.name]  # type: ignore[attr-defined]
        extra = info.json_schema_extra or {}
        path = f"{prefix}{field.name}"
        classes = _configs_in(info.annotation)
        yield {
            "key": path,
            "type": _type_name(info.annotation),
            "default": "required" if info.is_required() else _default_text(info.get_default(call_default_factory=True)),
            "unit": extra.get("unit", ""),
            "about": info.description or _summary(cls),
            "source": extra.get("source", ""),
        }
        for inner in classes:
            tag = f"[{_tag(inner)}]" if len(classes) > 1 else ""
            yield from keys(inner, f"{path}{tag}.")


def _apply(tree: DictConfig, override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise InputError("override", f"{override!r} is not of the form key=value", "write for example learner.learning_rate=1e-6")
    try:
        value = OmegaConf.from_dotlist([f"value={text}"]).get("value")
        OmegaConf.update(tree, _by_name(tree, path), value, merge=False, force_add=True)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, IndexError) as error:
        raise InputError(
            path, f"cannot be set to {text!r} ({_one_line(error)})", "check the path with `rl-distill recipes NAME`"
        ) from None


def _by_name(tree: DictConfig, path: str) -> str:
    """Turn `stages.redi.steps` into `stages.2.steps`: members of a list are reached by their `name` too."""
    node: Any = tree
    parts = []
    for part in path.split("."):
        if isinstance(node, ListConfig) and not part.isdigit():
            names = [item.get("name") if isinstance(item, DictConfig) else None for item in node]
            if part not in names:
                raise InputError(path, f"no member is named {part!r}", f"choose one of {', '.join(map(str, names))}")
            part = str(names.index(part))
        parts.append(part)
        node = node[int(part)] if isinstance(node, ListConfig) else node.get(part) if isinstance(node, DictConfig) else None
    return ".".join(parts)


def _input_error(cls: type, tree: Any, errors: Sequence[ErrorDetails]) -> InputError:
    """The error to show first: a misspelt key explains a missing one, and a mapping was not meant as a text."""
    meant = [error for error in errors if not (error["type"] == "string_type" and isinstance(error["input"], Mapping))]
    error = min(meant or errors, key=lambda error: _ORDER.get(error["type"], 1))
    location, kind, given = error["loc"], error["type"], error["input"]
    path = _path(cls, tree, location)
    if kind in _UNKNOWN:
        known = _fields_at(cls, location[:-1])
        near = get_close_matches(str(location[-1]), known, n=1)
        return InputError(path, "is not a known key", f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}")
    if kind in _MISSING:
        return InputError(path, "is missing", "add it; `rl-distill recipes NAME` explains every key")
    if kind == "union_tag_not_found":
        return InputError(f"{path}.name", "is missing", "add it; it says which kind of thing this is")
    if kind == "union_tag_invalid":
        return _unknown_choice(f"{path}.name", error["ctx"]["tag"], error["ctx"]["expected_tags"])
    if kind == "value_error":
        return _objection(path, _fields_at(cls, location), given, str(error["ctx"]["error"]))
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
    for part, _ in _walk(cls, location):
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


def _fields_at(cls: type, location: tuple[int | str, ...]) -> list[str]:
    *_, found = [cls, *(annotation for _, annotation in _walk(cls, location))]
    owners = _configs_in(found)
    tagged = [inner for inner in owners if _tag(inner) == location[-1]] if location else []
    return [field.name for inner in (tagged or owners) for field in fields(inner)]


def _walk(cls: type, location: tuple[int | str, ...]) -> Iterator[tuple[int | str, Any]]:
    """Follow an error's location through the annotations, skipping the parts pydantic adds for unions."""
    current: Any = cls
    for part in location:
        owners = _configs_in(current)
        tagged = [inner for inner in owners if part in (_tag(inner), inner.__name__)]
        is_field = any(part == field.name for inner in owners for field in fields(inner))
        if tagged and not is_field:
            current = tagged[0]
            continue
        if not is_field and any(part == inner.__name__ for inner in _classes_in(current)):
            continue
        for inner in owners:
            if any(part == field.name for field in fields(inner)):
                current = inner.__pydantic_fields__[part].annotation
        yield part, current


def _classes_in(annotation: Any) -> list[Any]:
    """All classes inside an annotation: `tuple[Stage, ...]` -> [tuple, Stage]-like, unions flattened."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation]
    return [inner for argument in get_args(annotation) for inner in _classes_in(argument)]


def _configs_in(annotation: Any) -> list[Any]:
    """The configuration classes among them."""
    return [inner for inner in _classes_in(annotation) if is_dataclass(inner)]


def _tag(cls: type) -> str:
    """The `name` that selects a class from its table ("" for a class that needs none)."""
    for field in fields(cls) if is_dataclass(cls) else ():
        if field.name == "name":
            default = cls.__pydantic_fields__["name"].default  # type: ignore[attr-defined]
            return default if isinstance(default, str) else ""
    return ""


def _summary(cls: type) -> str:
    """What the `name` that picks a class stands for: the first line of its docstring."""
    return (cls.__doc__ or "").strip().split("\n")[0]


def _type_name(annotation: Any) -> str:
    classes = _configs_in(annotation)
    if classes:
        return (
            "one of " + ", ".join(_tag(inner) or inner.__name__ for inner in classes) if len(classes) > 1 else classes[0].__name__
        )
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("NoneType", "None")


def _default_text(value: Any) -> str:
    return json.dumps(dump(value), default=str) if value is not None else "none"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
