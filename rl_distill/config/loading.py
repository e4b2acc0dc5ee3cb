"""YAML and dotted overrides through OmegaConf, validated strictly."""

import io
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from rl_distill.config.wording import input_error
from rl_distill.errors import InputError

T = TypeVar("T")


def read_yaml(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The tree of a YAML file after `key.path=value` overrides and `${...}` interpolation; `1e-6` is a number."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("recipe", f"there is no file {str(path)!r}", "`rl-distill recipes` lists those that exist") from None
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"is not valid YAML ({one_line(error)})", "mend the file at that line") from None
    except OSError as error:
        raise InputError("recipe", f"{str(path)!r} cannot be read ({error.strerror})", "give a readable YAML file") from None
    if any("${" in part for part in (text, *overrides)):  # may read the environment, which is not part of the text
        return _tree(text, overrides, str(path))
    return deepcopy(_known_tree(text, tuple(overrides), str(path)))


def overridden(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A plain tree after `key.path=value` overrides."""
    return _overridden(OmegaConf.create(dict(tree)), overrides, "overrides")


def parse(cls: type[T], tree: Mapping[str, Any]) -> T:
    """Validate a plain tree into a configuration class, strictly: no string is taken for a number, no key goes unread."""
    try:
        return TypeAdapter(cls).validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        raise input_error(cls, tree, error.errors()) from None


def dump(value: Any) -> Any:
    """The plain tree of a configuration value; `parse(type(value), dump(value)) == value`."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def json_schema(cls: type) -> dict[str, Any]:
    """JSON schema of a configuration class, for editors."""
    return TypeAdapter(cls).json_schema()


@lru_cache(maxsize=256)
def _known_tree(text: str, overrides: tuple[str, ...], where: str) -> dict[str, Any]:
    """OmegaConf takes a fifth of a second for a recipe, and whoever shows a hundred runs asks for each many times."""
    return _tree(text, overrides, where)


def _tree(text: str, overrides: Sequence[str], where: str) -> dict[str, Any]:
    try:
        tree = OmegaConf.load(io.StringIO(text))
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise InputError(where, f"is not valid YAML ({one_line(error)})", "mend the file at that line") from None
    except OSError:  # OmegaConf's own, of a file that holds a single value
        tree = None
    if not isinstance(tree, DictConfig) or not tree:
        raise InputError(where, "holds no mapping of keys", "start it with `name: ...`")
    return _overridden(tree, overrides, where)


def _overridden(tree: DictConfig, overrides: Sequence[str], where: str) -> dict[str, Any]:
    for override in overrides:
        _apply(tree, override)
    try:
        plain = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(where, f"has an interpolation that fails ({one_line(error)})", "define what it refers to") from None
    return plain  # type: ignore[return-value]


def _apply(tree: DictConfig, override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise InputError("override", f"{override!r} is not of the form key=value", "write for example learner.learning_rate=1e-6")
    try:
        value = OmegaConf.from_dotlist([f"value={text}"]).get("value")
        OmegaConf.update(tree, _by_name(tree, path), value, merge=False, force_add=True)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, IndexError) as error:
        raise InputError(
            path, f"cannot be set to {text!r} ({one_line(error)})", "check the path with `rl-distill recipes NAME`"
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


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
