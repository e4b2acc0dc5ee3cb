"""Groups as plain data and as JSON lines: what a run writes about its rollouts, and what curation hands to training."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError
from rl_distill.trajectory import ALIGNED, Group, Message, Problem, Score, Trajectory, Verdict


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
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}:{number}", f"is no group ({error})", "write it with rl_distill.records.group_to_dict"
            ) from None


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
