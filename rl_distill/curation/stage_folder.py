"""What a stage leaves on disk, and whether that still stands for what it would be made from now."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rl_distill.curation.drop import Drop
from rl_distill.curation.fingerprint import canonical_json
from rl_distill.records import group_to_dict, read_groups
from rl_distill.sealing import MANIFEST, damage, sealed
from rl_distill.trajectory import Group

ADDRESS, ROWS, DROPS, FACTS = "address.json", "rows.jsonl", "drops.jsonl", "facts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """
    groups  rows that go on
    drops   what was left out, each with its reason
    facts   what the data card tells of the stage, plain data
    tables  further files of rows, by name
    """

    groups: Sequence[Group]
    drops: Sequence[Drop] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """
    settings  what its rows depend on beside the rows it gets, plain data
    run       makes its rows
    """

    name: str
    settings: Any
    run: Callable[[list[Group]], StageResult]


@dataclass(frozen=True, slots=True)
class StageFolder:
    """A finished stage.

    address.json   what its rows are a function of: stage, version of its code, settings, digests of the rows it got
    rows.jsonl     groups, one a line
    drops.jsonl    what was left out
    facts.json     counts by source and status, and what the stage found
    manifest.json  checksums of all of these
    """

    path: Path

    @property
    def digest(self) -> str:
        """SHA-256 of the rows."""
        return str(json.loads((self.path / MANIFEST).read_text())[ROWS])

    def groups(self) -> list[Group]:
        return list(read_groups(self.path / ROWS))

    def drops(self) -> list[Drop]:
        return [Drop(**row) for row in self.table(DROPS)]

    def facts(self) -> dict[str, Any]:
        return dict(json.loads((self.path / FACTS).read_text()))

    def table(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / name).read_bytes().splitlines()]

    def stands_for(self, address: Mapping[str, Any]) -> bool:
        """Whether it is there, whole, and was made from just this."""
        if not self.path.is_dir() or damage(self.path) is not None:
            return False
        return (self.path / ADDRESS).read_text() == canonical_json(address)


def made(path: Path, address: Mapping[str, Any], compute: Callable[[], StageResult]) -> tuple[StageFolder, bool]:
    """The folder of a stage, and whether it had to be computed. It appears whole or not at all."""
    folder = StageFolder(path)
    if folder.stands_for(address):
        return folder, False
    result = compute()
    with sealed(path) as working:
        (working / ADDRESS).write_text(canonical_json(address))
        _write_rows(working / ROWS, map(group_to_dict, result.groups))
        _write_rows(working / DROPS, map(asdict, result.drops))
        facts = {"counts": counts(result.groups), "dropped": _dropped(result.drops), **result.facts}
        (working / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True))
        for name, rows in result.tables.items():
            _write_rows(working / name, rows)
    return folder, True


def remove_others(parent: Path, owned: Collection[str]) -> list[str]:
    """Remove finished stages under other names than these; returns theirs. Whatever else lies there is left alone."""
    others = [path for path in sorted(parent.glob("[!.]*")) if path.name not in owned and (path / ADDRESS).is_file()]
    for path in others:
        shutil.rmtree(path)
    return [path.name for path in others]


def counts(groups: Iterable[Group]) -> dict[str, dict[str, int]]:
    """By source: problems, attempts, and attempts by status ("unverified" where nobody has looked)."""
    found: dict[str, Counter[str]] = {}
    for group in groups:
        counter = found.setdefault(group.problem.source, Counter())
        counter["problems"] += 1
        counter["attempts"] += len(group.trajectories)
        counter.update(attempt.status or "unverified" for attempt in group.trajectories)
    return {source: dict(sorted(counter.items())) for source, counter in sorted(found.items())}


def _dropped(drops: Sequence[Drop]) -> dict[str, dict[str, int]]:
    """By source: how many problems, attempts and probes fell under which reason."""
    found: dict[str, Counter[str]] = {}
    for drop in drops:
        found.setdefault(drop.source, Counter())[f"{drop.kind}: {drop.reason}"] += 1
    return {source: dict(sorted(counter.items())) for source, counter in sorted(found.items())}


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as file:
        file.writelines(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows)
