"""A cell in a process of its own: `python -m rl_distill.sweeps.cell_process ORDER`, as the sweep starts it."""

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
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
    recipe = _named(parse(Recipe, order.recipe), Path(order.account).stem)
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
        return "stopped", str(stop).rpartition("; ")[0]  # the remedy behind it is that of a run which stands alone
    except InputError as error:
        refusal = _of_a_cell(error)
        print(f"error: {refusal}", flush=True)
        return "failed", str(refusal)
    except (Exception, KeyboardInterrupt) as error:
        report = failure_report(error, recipe.folder, order.command)
        print(report, flush=True)
        reason = report.splitlines()[0].partition(": ")[2]
        return ("unfinished" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"), reason
    return "done", ""


def _named(recipe: Recipe, cell: str) -> Recipe:
    """All cells bear the sweep's name; Weights & Biases would show them, and count their models, as one."""
    wandb = recipe.tracking.wandb
    if wandb is None:
        return recipe
    return replace(recipe, tracking=replace(recipe.tracking, wandb=replace(wandb, name=f"{recipe.name}-{cell}")))


def _of_a_cell(error: InputError) -> InputError:
    """A sweep chooses the folders of its cells: another one is another folder of the whole sweep."""
    remedy = error.remedy.replace("run_dir=PATH", "folder=PATH of the sweep").replace("remove the folder", "remove that folder")
    return InputError(error.field, error.problem, remedy)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
