"""A cell in a process of its own: `python -m rl_distill.sweeps.cell_process ORDER`, as the sweep starts it."""

import json
import os
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rl_distill.analysis.run_pages import write_run_pages
from rl_distill.config import dump, parse
from rl_distill.errors import InputError
from rl_distill.recipe import Recipe
from rl_distill.rewards.confined import die_with
from rl_distill.sweeps.accounts import Account, State, recipe_digest, write_account
from rl_distill.training.failure import failure_report
from rl_distill.training.interruption import Interrupted, StoppedByAlarm
from rl_distill.training.run import train
from rl_distill.training.shared_stages import made_under

SIGKILL = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    recipe   resolved, as plain data
    shared   entries of the store of stages that this cell shares
    account  where it says how it ended
    threads  that it computes with
    command  that continues the sweep
    """

    recipe: dict[str, Any]
    shared: list[str]
    account: str
    threads: int
    command: list[str]

    @classmethod
    def of(cls, recipe: Recipe, *, shared: list[str], account: Path, threads: int, command: list[str]) -> "Order":
        return cls(recipe=dump(recipe), shared=shared, account=str(account), threads=threads, command=command)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def main(path: str) -> int:
    """Returns 0 if the cell has come to its end, by an alarm too."""
    if sys.platform == "linux":
        die_with(os.getppid(), SIGKILL)  # a sweep that is killed leaves nobody behind
    order = Order(**json.loads(Path(path).read_text(encoding="utf-8")))
    torch.set_num_threads(order.threads)
    recipe = parse(Recipe, order.recipe)
    digest = recipe_digest(recipe)
    write_account(Path(order.account), Account(state="unfinished", reason="its process has gone", recipe=digest))
    state, reason = _run(recipe, order)
    made = made_under(recipe.folder, recipe.stages[-1].name) or ""
    write_account(Path(order.account), Account(state=state, reason=reason, recipe=digest, made=made))
    return 0 if state in ("done", "stopped") else 1


def _run(recipe: Recipe, order: Order) -> tuple[State, str]:
    try:
        summary = train(recipe, lambda line: print(line, flush=True), shared=[Path(entry) for entry in order.shared])
        write_run_pages(recipe.folder, summary)
    except StoppedByAlarm as stop:
        print(stop, flush=True)
        return "stopped", re.split("[:;]", str(stop))[0]
    except InputError as error:
        print(f"error: {error}", flush=True)
        return "failed", str(error)
    except (Exception, KeyboardInterrupt) as error:
        report = failure_report(error, recipe.folder, order.command)
        print(report, flush=True)
        reason = report.splitlines()[0].partition(": ")[2]
        return ("unfinished" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"), reason
    return "done", ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
