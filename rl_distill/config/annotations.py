"""Looking into the annotations of configuration classes."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin


def classes_in(annotation: Any) -> list[Any]:
    """All classes inside an annotation: `tuple[Stage, ...]` -> [tuple, Stage]-like, unions flattened."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation]
    return [inner for argument in get_args(annotation) for inner in classes_in(argument)]


def configs_in(annotation: Any) -> list[Any]:
    """The configuration classes among them."""
    return [inner for inner in classes_in(annotation) if is_dataclass(inner)]


def tag_of(cls: type) -> str:
    """The `name` that selects a class from its table ("" for a class that needs none)."""
    for field in fields(cls) if is_dataclass(cls) else ():
        if field.name == "name":
            default = cls.__pydantic_fields__["name"].default  # type: ignore[attr-defined]
            return default if isinstance(default, str) else ""
    return ""


def fields_at(cls: type, location: tuple[int | str, ...]) -> list[str]:
    *_, found = [cls, *(annotation for _, annotation in walk(cls, location))]
    owners = configs_in(found)
    tagged = [inner for inner in owners if location[-1] in (tag_of(inner), inner.__name__)] if location else []
    return [field.name for inner in (tagged or owners) for field in fields(inner)]


def walk(cls: type, location: tuple[int | str, ...]) -> Iterator[tuple[int | str, Any]]:
    """Follow an error's location through the annotations, skipping the parts pydantic adds for unions."""
    current: Any = cls
    for part in location:
        owners = configs_in(current)
        tagged = [inner for inner in owners if part in (tag_of(inner), inner.__name__)]
        is_field = any(part == field.name for inner in owners for field in fields(inner))
        if tagged and not is_field:
            current = tagged[0]
            continue
        if not is_field and any(part == inner.__name__ for inner in classes_in(current)):
            continue
        for inner in owners:
            if any(part == field.name for field in fields(inner)):
                current = inner.__pydantic_fields__[part].annotation
        yield part, current
