"""Every key of a configuration class, for people."""

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_origin

from rl_distill.config.annotations import configs_in, tag_of
from rl_distill.config.loading import dump


def keys(cls: type, prefix: str = "") -> Iterator[dict[str, str]]:
    """Every key below a class: `key`, `type`, `default`, `unit`, `about`, `source`; choices appear as `key[name]`."""
    for field in fields(cls):
        info = cls.__pydantic_fields__[field.name]  # type: ignore[attr-defined]
        extra = info.json_schema_extra or {}
        path = f"{prefix}{field.name}"
        classes = configs_in(info.annotation)
        yield {
            "key": path,
            "type": _type_name(info.annotation),
            "default": "required" if info.is_required() else _default_text(info.get_default(call_default_factory=True)),
            "unit": extra.get("unit", ""),
            "about": info.description or _summary(cls),
            "source": extra.get("source", ""),
        }
        for inner in classes:
            tag = f"[{tag_of(inner) or inner.__name__}]" if len(classes) > 1 else ""
            yield from keys(inner, f"{path}{tag}.")


def _summary(cls: type) -> str:
    """What the `name` that picks a class stands for: the first line of its docstring."""
    return (cls.__doc__ or "").strip().split("\n")[0]


def _type_name(annotation: Any) -> str:
    names = [tag_of(inner) or inner.__name__ for inner in configs_in(annotation)]
    if names:
        return f"one of {', '.join(names)}" if len(names) > 1 else configs_in(annotation)[0].__name__
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("NoneType", "None")


def _default_text(value: Any) -> str:
    return json.dumps(dump(value), default=str) if value is not None else "none"
