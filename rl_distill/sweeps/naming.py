"""Names of cells: short, readable, good as names of folders."""

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any

LONGEST_VALUE = 24  # characters
LONGEST_NAME = 150  # characters; file systems take 255 bytes with what is put behind


def short_keys(keys: Collection[str]) -> dict[str, str]:
    """Each dotted key's shortest end that no other key has.

    Example:
        >>> short_keys(["stages.sft.learner.learning_rate", "stages.redi.learner.learning_rate", "seed"])
        {'stages.sft.learner.learning_rate': 'sft.learner.learning_rate',
         'stages.redi.learner.learning_rate': 'redi.learner.learning_rate', 'seed': 'seed'}
    """
    found = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[place:]) for place in range(len(parts) - 1, -1, -1)]
        alone = (end for end in ends if not any(other != key and f".{other}".endswith(f".{end}") for other in keys))
        found[key] = next(alone, key)
    return found


def cut(name: str) -> str:
    """A name that fits into that of a file: its beginning, and a digest of the whole where it is too long."""
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - len(digest) - 1]}-{digest}"


def value_name(value: Any) -> str:
    """A value as a name has it: numbers as people write them, of a mapping its `name`."""
    if isinstance(value, dict) and isinstance(value.get("name"), str) and len(value) == 1:
        value = value["name"]
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_")[:LONGEST_VALUE] or "empty"
