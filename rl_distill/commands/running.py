"""Commands that run a recipe, or look into a run."""

import argparse
import shlex
import sys
from pathlib import Path

from rl_distill.commands import Command
from rl_distill.errors import InputError, RunError


def _train_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", type=Path, help="YAML file")
    command.add_argument(
        "overrides", nargs="*", metavar="key=value", help="for example stages.redi.algorithm.negative_coef=0 run_dir=runs/control"
    )


def _train(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.run_pages import write_run_pages
    from rl_distill.recipe import load_recipe
    from rl_distill.training.failure import failure_report
    from rl_distill.training.run import train

    recipe = load_recipe(parsed.recipe, parsed.overrides)
    try:
        summary = train(recipe, say=lambda line: print(line, flush=True))
        pages = write_run_pages(recipe.folder, summary)
    except InputError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        command = ["rl-distill", "train", str(parsed.recipe), *parsed.overrides]
        print(failure_report(error, recipe.folder, command), file=sys.stderr)
        return 1
    print(f"\n{pages.table}\n\ntable: {pages.table_file}   figure: {pages.curves}   student: {recipe.folder / 'final'}")
    if pages.dialogues is not None:
        print(f"dialogues: {pages.dialogues}")
    return 0


def _replay_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="its folder")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="where it runs: cluster.address, tracking")
    command.add_argument("--until", type=int, metavar="STEP", help="stop after that run/step, with the student as it was then")
    command.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="X",
        help="relative difference that counts as none: on another machine 1e-5",
    )
    command.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="of the replay; none is RUN/replay")


def _replay(parsed: argparse.Namespace) -> int:
    from rl_distill.training.replay import replay

    try:
        found = replay(parsed.run, parsed.output, until=parsed.until, tolerance=parsed.tolerance, overrides=parsed.overrides)
    except RunError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    if found.student is not None:
        print(f"student after the last step: {found.student}")
    same = f"within {parsed.tolerance:g}" if parsed.tolerance else "to the bit"
    print(f"{found.steps} steps: {found.difference or f'every number is the same, {same}'}")
    return 1 if found.difference else 0


def _status_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="its folder")


def _status(parsed: argparse.Namespace) -> int:
    from rl_distill.training.status import status_lines

    print("\n".join(status_lines(parsed.run)))
    return 0


def _dialogues_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="its folder")
    command.add_argument("--stage", metavar="S", help="none is the last that recorded dialogues")
    command.add_argument(
        "--step", type=int, metavar="N", help="as metrics.jsonl counts the stage's steps; none is the last recorded"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="none is RUN/dialogues.html")


def _dialogues(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.dialogue_page import write_dialogue_page

    print(write_dialogue_page(parsed.run, stage=parsed.stage, step=parsed.step, out=parsed.out))
    return 0


def _sweep_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("sweep", type=Path, metavar="SWEEP", help="YAML file, see experiments/sweeps")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="of the sweep's file, for example seeds=[0,1]")
    command.add_argument("--dry-run", action="store_true", help="check every cell, say what they share; run nothing")
    command.add_argument("--address", metavar="HOST:PORT", help="of a running Ray cluster, or auto; none takes this machine")


def _sweep(parsed: argparse.Namespace) -> int:
    from rl_distill.sweeps.sweep_run import dry_run, run_sweep

    def say(line: str) -> None:
        print(line, flush=True)

    if parsed.dry_run:
        dry_run(parsed.sweep, parsed.overrides, say)
        return 0
    outcome = run_sweep(parsed.sweep, parsed.overrides, address=parsed.address, say=say)
    print(f"\n{outcome.table}\n\nfiles: {'   '.join(map(str, outcome.files))}")
    if not outcome.unfinished:
        return 0
    address = ["--address", parsed.address] if parsed.address else []
    command = shlex.join(["rl-distill", "sweep", str(parsed.sweep), *parsed.overrides, *address])
    print("\n".join([*outcome.unfinished, f"what is done is saved; continue with: {command}"]), file=sys.stderr)
    return 1


COMMANDS = {
    "train": Command("run the stages of a recipe, or continue its run folder", _train_arguments, _train),
    "sweep": Command("many runs of a recipe that differ in some keys, side by side, and one table", _sweep_arguments, _sweep),
    "replay": Command(
        "repeat a run from its records, and see that every number is the same to the bit", _replay_arguments, _replay
    ),
    "status": Command("what a run is doing: its workers, their weights, queues and rates", _status_arguments, _status),
    "dialogues": Command(
        "a page to look at a run's probe dialogues: tokens, contexts, bonuses", _dialogues_arguments, _dialogues
    ),
}
