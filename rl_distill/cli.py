"""The command line: parses and calls, computes nothing. Exit codes: 0 done, 2 the input is wrong, 1 the run failed."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rl_distill import __version__
from rl_distill.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = _parser().parse_args(given)
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        return command(parsed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: by Ctrl-C", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0  # the reader of our output went away


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rl-distill", description="Zero-RL, distillation, REDI or probes: which way makes a small model reason?"
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="run the stages of a recipe, or continue its run folder")
    train.add_argument("recipe", type=Path, help="YAML file")
    train.add_argument(
        "overrides", nargs="*", metavar="key=value", help="for example stages.redi.algorithm.negative_coef=0 run_dir=runs/control"
    )
    train.set_defaults(command=_train)

    recipes = commands.add_parser("recipes", help="list the recipes, or every key with its default, unit and source")
    recipes.add_argument("name", nargs="?", help="a recipe, to see its values beside the keys")
    recipes.add_argument("--schema", action="store_true", help="print the JSON schema of recipes, for editors")
    recipes.set_defaults(command=_recipes)

    doctor = commands.add_parser("doctor", help="check this machine, and what a recipe needs, and say what will not work and why")
    doctor.add_argument("recipe", type=Path, nargs="?", help="YAML file")
    doctor.add_argument("overrides", nargs="*", metavar="key=value", help="as for train")
    doctor.add_argument("--quick", action="store_true", help="start nothing: no Ray, no DeepSpeed")
    doctor.set_defaults(command=_doctor)

    verify = commands.add_parser("verify", help="grade rows of {answer, response}")
    verify.add_argument("file", type=Path, help="JSON lines")
    verify.add_argument(
        "-o", "--output", type=Path, help="where the graded rows go; none is FILE with .verified before its ending"
    )
    verify.add_argument("--deadline", type=float, default=None, help="seconds for each answer")
    verify.set_defaults(command=_verify)
    return parser


def _train(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.plots import plot_run
    from rl_distill.analysis.table import HEADER, markdown, route_rows
    from rl_distill.recipe import load_recipe
    from rl_distill.tracking import read_metrics
    from rl_distill.training.failure import failure_report
    from rl_distill.training.run import train

    recipe = load_recipe(parsed.recipe, parsed.overrides)
    try:
        summary = train(recipe, say=lambda line: print(line, flush=True))
        table = markdown(HEADER, route_rows(summary["routes"]))
        (recipe.folder / "table.md").write_text(table + "\n")
        plot_run(summary["routes"], read_metrics(recipe.folder / "metrics.jsonl"), recipe.folder / "curves.png")
    except InputError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        command = ["rl-distill", "train", str(parsed.recipe), *parsed.overrides]
        print(failure_report(error, recipe.folder, command), file=sys.stderr)
        return 1
    print(
        f"\n{table}\n\ntable: {recipe.folder / 'table.md'}   figure: {recipe.folder / 'curves.png'}   "
        f"student: {recipe.folder / 'final'}"
    )
    return 0


def _recipes(parsed: argparse.Namespace) -> int:
    from rl_distill.config import json_schema
    from rl_distill.recipe import Recipe
    from rl_distill.training.recipe_listing import key_lines, recipe_lines

    if parsed.schema:
        print(json.dumps(json_schema(Recipe), indent=2))
    elif parsed.name is None:
        print("\n".join(recipe_lines()))
    else:
        print("\n".join(key_lines(parsed.name)))
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
    from rl_distill.doctor.visit import visit
    from rl_distill.recipe import load_recipe

    recipe = load_recipe(parsed.recipe, parsed.overrides) if parsed.recipe is not None else None
    tally = visit(recipe, say=lambda line: print(line, flush=True), quick=parsed.quick)
    print(tally)
    return 1 if tally.fail else 0


def _verify(parsed: argparse.Namespace) -> int:
    from rl_distill.evaluation.verify import verify_file

    output = parsed.output or parsed.file.with_suffix(f".verified{parsed.file.suffix}")
    counts = verify_file(parsed.file, output, deadline=parsed.deadline)
    print("  ".join(f"{status} {count}" for status, count in counts.items()) + f"   written to {output}")
    return 0
