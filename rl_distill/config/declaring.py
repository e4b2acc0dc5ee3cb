"""How a configuration class is written: documented keys, frozen and strict."""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
from pydantic import ConfigDict, Field

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
