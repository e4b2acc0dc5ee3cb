"""The sweep's table in Weights & Biases, in a run of its own beside those of its cells."""

import shlex
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError
from rl_distill.tracking import Wandb, WandbTracker

IDENTITY = ".wandb_id"


def log_table(
    settings: Wandb,
    *,
    folder: Path,
    name: str,
    resolved: dict[str, Any],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    say: Callable[[str], None],
) -> None:
    """Write it, and say how cells and table are uploaded where they are offline. What goes wrong is said, and loses nothing.

    Args:
        settings: of the cells.
        folder: of the sweep.
        resolved: the sweep's settings, as plain data.
    """
    identity = folder / IDENTITY
    if not identity.exists():
        identity.write_text(uuid.uuid4().hex[:8])
    try:
        unnamed = replace(settings, name=None)  # a name in the recipe is that of a run which stands alone
        table = f"{name}-table"
        tracker = WandbTracker(unnamed, folder=folder, name=table, run_id=identity.read_text(), resolved=resolved, say=say)
        tracker.table(0, "sweep", columns, rows)
        tracker.close()
    except (InputError, OSError) as error:
        say(f"warning: the sweep's table did not reach wandb ({error}); it is in {folder / 'table.md'}")
    if settings.mode == "offline":
        say(f"wandb: upload the cells with `wandb sync {shlex.quote(str(folder))}/cells/*/wandb`")
