"""How each cell of a sweep ended: a small file beside the run folders, written by the cell's own process."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rl_distill.config import dump
from rl_distill.recipe import Recipe
from rl_distill.sweeps.lineage import WITHOUT_EFFECT

State = Literal["done", "stopped", "failed", "unfinished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """
    state   done; stopped by an alarm that was asked to; failed; unfinished where it was interrupted, or never begun
    reason  of a cell that is not done, in one line
    recipe  digest of what it was run with
    made    digest of recipe, data and code that its outcome is a function of; of one that is of several, no digest
    """

    state: State
    reason: str = ""
    recipe: str = ""
    made: str = ""


UNBEGUN = Account(state="unfinished", reason="not begun")


def recipe_digest(recipe: Recipe) -> str:
    """Of all that decides how a cell ends, and what it tells of itself: alarms that stop nothing too."""
    resolved = {key: value for key, value in dump(recipe).items() if key not in WITHOUT_EFFECT}
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()[:20]


def read_account(path: Path, recipe: Recipe) -> Account:
    """Of this recipe: that of another one says nothing about the cell."""
    try:
        found = Account(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return UNBEGUN
    return found if found.recipe == recipe_digest(recipe) else UNBEGUN


def write_account(path: Path, account: Account) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    working = path.with_name(f".{path.name}.tmp")
    working.write_text(json.dumps(asdict(account)), encoding="utf-8")
    working.replace(path)
