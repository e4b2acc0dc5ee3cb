"""How a configuration class is written: documented keys, frozen and strict."""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field

from rl_distill.config.imported import with_imported

T = TypeVar("T")


def setting(default: Any = ..., *, about: str, unit: str = "", source: str = "", **limits: Any) -> Any:
    """A documented key: its default, what it means, its unit, and the paper or code that the default comes from."""
    extra: dict[str, Any] = {key: text for key, text in (("unit", unit), ("source", source)) if text}
    return Field(default, description=about, json_schema_extra=extra or None, **limits)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def config(cls: type[T]) -> type[T]:
    """Class decorator: a frozen, keyword-only pydantic dataclass that refuses unknown keys."""
    return pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))(cls)  # type: ignore[return-value]


def one_of(table: Mapping[str, type], default: str | None = None, own: type | None = None) -> Any:
    """The type of a key whose `name` picks a class from a table.

    Args:
        default: what an absent name means; None makes it an error.
        own: what classes of a user's own must be, which a name with a colon, `module:Class`, imports; None: there are none.
    """
    found = _picked(table, default)
    return found if own is None else with_imported(found, frozenset(table.values()), own)


def _picked(table: Mapping[str, type], default: str | None) -> Any:
    classes = tuple(table.values())
    if len(classes) == 1:
        return classes[0]
    found: Any = Annotated[reduce(or_, classes), Field(discriminator="name")]

    def named(value: Any) -> Any:
        return {"name": default, **value} if isinstance(value, Mapping) else value

    return found if default is None else Annotated[found, BeforeValidator(named)]
