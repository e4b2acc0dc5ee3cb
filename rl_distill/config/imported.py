"""Configuration classes of a user's own, which a recipe names by their import path."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Annotated, Any

from pydantic import WrapSerializer, WrapValidator

from rl_distill.config.annotations import tag_of
from rl_distill.config.loading import dump, parse
from rl_distill.errors import InputError


def with_imported(found: Any, known: frozenset[type], base: type) -> Any:
    """The type `found`, extended by classes derived from `base`: `name: module:Class`, or a value made in Python."""

    def read(value: Any, otherwise: Callable[[Any], Any]) -> Any:
        if isinstance(value, base) and type(value) not in known:
            return value
        name = value.get("name") if isinstance(value, Mapping) else None
        return _read(name, base, value) if isinstance(name, str) and ":" in name else otherwise(value)

    def write(value: Any, otherwise: Callable[[Any], Any]) -> Any:
        return otherwise(value) if type(value) in known else dump(value)

    return Annotated[found, WrapValidator(read), WrapSerializer(write)]


def _read(name: str, base: type, value: Mapping[str, Any]) -> Any:
    cls = _imported(name)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ValueError(f"name {name!r} is no {base.__name__}: derive it from {base.__module__}.{base.__name__}")
    if tag_of(cls) != name:
        raise ValueError(
            f"name {name!r} is not what the class calls itself, so its runs could not be read again: "
            f'give it the key name: Literal["{name}"] = "{name}"'
        )
    try:
        return parse(cls, value)
    except InputError as error:
        raise ValueError(f"{error.field} {error.problem}: {error.remedy}") from None


def _imported(name: str) -> Any:
    module, _, attribute = name.rpartition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:  # importing runs the user's module, which may fail in any way
        reason = f"{type(error).__name__}, {error}"
        raise ValueError(f"name {name!r} cannot be imported ({reason}): put its folder on PYTHONPATH") from error
