"""One process at a time writes into a folder."""

import fcntl
import os
import platform
from pathlib import Path
from typing import TextIO

from rl_distill.errors import InputError

LOCK = ".lock"


def locked(folder: Path, field: str) -> TextIO:
    """Make the folder, if it is not there, and hold its lock until the returned file is closed; it ends with the process too.

    Args:
        field: the key to name in an error.

    Raises:
        InputError: another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+")
    except OSError as error:
        raise InputError(field, f"{str(folder)!r} cannot be written ({error.strerror})", "choose another folder") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read() or "another process"
        lock.close()
        raise InputError(field, f"{str(folder)!r} is being written by {owner}", "wait for it, or end it") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on host {platform.node()}")
    lock.flush()
    return lock
