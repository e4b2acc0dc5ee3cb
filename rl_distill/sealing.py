"""Folders that are there whole or not at all."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "manifest.json"
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.\d+\.(?P<kind>tmp|old)")


@contextmanager
def sealed(target: Path) -> Iterator[Path]:
    """Write a folder under a temporary name; leaving the block puts checksums into it and renames it into place.

    An existing target is replaced. A process that dies in between leaves the target as it was, and beside it what
    `clear_leftovers` removes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    working = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir()
    try:
        yield working
        sums = {str(path.relative_to(working)): _sha256(path) for path in sorted(working.rglob("*")) if path.is_file()}
        (working / MANIFEST).write_text(json.dumps(sums, indent=1))
        for path in (*working.rglob("*"), working):
            _sync(path)
        replaced = target.with_name(f".{target.name}.{os.getpid()}.old")
        if target.exists():
            target.rename(replaced)
        working.rename(target)
        _sync(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise


def clear_leftovers(folder: Path) -> None:
    """Remove what dead processes left of folders they were sealing. Only for a folder that no other process writes into."""
    for path in folder.glob(".*"):
        match = _LEFTOVER.fullmatch(path.name)
        if match is None:
            continue
        target = folder / match["name"]
        if match["kind"] == "old" and not target.exists():
            path.rename(target)  # the process died after it had moved the target aside and before it had replaced it
        else:
            shutil.rmtree(path)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a sealed folder as it was written, by its path below the folder.

    Raises:
        OSError, ValueError: the folder's list of them is not there, or is damaged.
    """
    sums = json.loads((folder / MANIFEST).read_text())
    if not isinstance(sums, dict):
        raise ValueError(f"{MANIFEST} holds a {type(sums).__name__}")
    return sums


def damage(folder: Path, names: Collection[str] | None = None) -> str | None:
    """What is wrong with a sealed folder, or None if every byte is as it was written.

    Args:
        names: of the files that are looked at; none is all.
    """
    try:
        sums = checksums(folder)
        broken = [name for name, digest in sums.items() if (names is None or name in names) and _sha256(folder / name) != digest]
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"{broken[0]} does not match its checksum" if broken else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
