"""Groups as plain data and as JSON lines: what a run writes about its rollouts, and what curation hands to training."""

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError
from rl_distill.trajectory import ALIGNED, Group, Message, Problem, Score, Trajectory, Verdict

# What reading a line that is no group can raise; `misfit` says it in words.
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def group_to_dict(group: Group) -> dict[str, Any]:
    """Plain data that `group_from_dict` reads back to an equal group."""
    plain = asdict(group)
    for trajectory, original in zip(plain["trajectories"], group.trajectories, strict=True):
        trajectory["messages"] = [message._asdict() for message in original.messages]
    return plain


def group_from_dict(plain: Mapping[str, Any]) -> Group:
    return Group(problem=Problem(**plain["problem"]), trajectories=tuple(map(_trajectory, plain["trajectories"])))


def read_groups(path: Path) -> Iterator[Group]:
    """Groups of a JSON-lines file, one a line.

    Raises:
        InputError: the file is missing, or a line is no group.
    """
    try:
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")  # text.splitlines() would cut at U+2028 inside a record too
    except OSError as error:
        raise InputError(
            "path", f"{str(path)!r} cannot be read ({error.strerror})", "give a file of groups, one JSON object a line"
        ) from None
    for number, line in enumerate(lines if lines != [b""] else [], start=1):
        try:
            yield group_from_dict(json.loads(line))
        except MALFORMED as error:
            problem = f"is no group ({misfit(line, error)})"
            raise InputError(f"{path}:{number}", problem, "write it with rl_distill.records.group_to_dict") from None


def misfit(line: bytes, error: Exception) -> str:
    """What is missing or malformed in a line that is no group, in words of ours.

    Args:
        error: that reading it has raised.
    """
    try:
        plain = json.loads(line)
    except json.JSONDecodeError as broken:
        return f"it is not JSON from character {broken.pos + 1} on"
    except UnicodeDecodeError:
        return "it is not UTF-8"
    except RecursionError:
        return "its JSON is nested too deep"
    if not isinstance(plain, Mapping):
        return f"it is {_kind(plain)}, not an object"
    found = _unfit("", plain, {"problem", "trajectories"}, None) or _unfit("problem", plain["problem"], *_keys(Problem))
    if found is None and not isinstance(plain["trajectories"], list):
        return f"'trajectories' is {_kind(plain['trajectories'])}, not a list"
    for number, one in enumerate(plain["trajectories"] if found is None else []):
        place = f"trajectories[{number}]"
        found = _unfit(place, one, *_keys(Trajectory))
        messages = [] if found else one["messages"]
        if not isinstance(messages, list):
            return f"'{place}.messages' is {_kind(messages)}, not a list"
        for turn, message in enumerate(messages):
            found = found or _unfit(f"{place}.messages[{turn}]", message, {"role", "content"}, {"role", "content"})
        if found is not None:
            break
    return found or (str(error) if type(error) is ValueError else "a value is not of its kind")


def _unfit(place: str, plain: Any, required: Set[str], known: Set[str] | None) -> str | None:
    """What a mapping lacks or has too much; `known` is None where it may have other keys."""
    if not isinstance(plain, Mapping):
        return f"{place!r} is {_kind(plain)}, not an object"
    lacking, foreign = sorted(required - plain.keys()), sorted(plain.keys() - known) if known is not None else []
    prefix = f"{place}." if place else ""
    if lacking:
        return f"{prefix + lacking[0]!r} is missing"
    return f"{prefix + foreign[0]!r} is no key of it" if foreign else None


def _keys(record: type) -> tuple[set[str], set[str]]:
    """Those that a record must have, and all."""
    every = fields(record)
    return {one.name for one in every if one.default is MISSING and one.default_factory is MISSING}, {one.name for one in every}


def _kind(value: Any) -> str:
    """What a value of JSON is called."""
    kinds = {str: "a text", list: "a list", dict: "an object", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _trajectory(plain: Mapping[str, Any]) -> Trajectory:
    values = dict(plain)
    values["messages"] = tuple(Message(**message) for message in values["messages"])
    for name in ("token_ids", *ALIGNED):
        if values.get(name) is not None:
            values[name] = tuple(tuple(entry) if isinstance(entry, list) else entry for entry in values[name])
    if values.get("score") is not None:
        score = dict(values["score"])
        score["verdict"] = None if score["verdict"] is None else Verdict(**score["verdict"])
        values["score"] = Score(**score)
    return Trajectory(**values)
