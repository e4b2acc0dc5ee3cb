"""Files by their content, those of a user's own code among them."""

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

WHOLE = (
    64 * 2**20
)  # bytes; of a larger file so many pieces are read, evenly spaced: a model that goes on training changes them all
PIECES, PIECE = 1024, 16 * 2**10
IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*[:.][A-Za-z_]\w*")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, of a large one of its size and pieces of it; read once as long as size and time stay."""
    found = path.stat()
    return _digest_once(path.resolve(), found.st_size, found.st_mtime_ns)


@cache
def _digest_once(path: Path, size: int, mtime_ns: int) -> str:
    """Every cell of a sweep starts from the same files."""
    with path.open("rb") as file:
        if size <= WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(f"{size}\n".encode())
        for place in range(PIECES):
            file.seek((size - PIECE) * place // (PIECES - 1))
            digest.update(file.read(PIECE))
        return digest.hexdigest()


def code_digests(tree: Any) -> dict[str, str]:
    """Digest of each file with code of a user's own that a parsed recipe names by its import path; not of what that imports.

    Args:
        tree: the recipe, or a part of it, as plain data.
    """
    modules = {path.replace(":", ".").rpartition(".")[0] for path in _import_paths(tree)}
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in sorted(modules)}
    return {name: file_digest(Path(file)) for name, file in files.items() if file is not None and Path(file).is_file()}


def _import_paths(tree: Any) -> Iterator[str]:
    """Every `module:Class`, and what is called by its `function`, which may be written `module.name`."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if isinstance(value, str) and IMPORT_PATH.fullmatch(value) and (":" in value or key == "function"):
                yield value
            yield from _import_paths(value)
    elif isinstance(tree, list | tuple):
        for member in tree:
            yield from _import_paths(member)
