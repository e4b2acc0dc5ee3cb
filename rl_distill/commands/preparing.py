"""Commands for before a run: what recipes there are, what this machine can do, what a run will take, the data it learns from."""

import argparse
import json
import sys
from pathlib import Path

from rl_distill.commands import Command
from rl_distill.errors import InputError, RunError


def _recipes_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", nargs="?", help="a recipe, to see its values beside the keys")
    command.add_argument("--schema", action="store_true", help="print the JSON schema of recipes, for editors")


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


def _doctor_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", type=Path, nargs="?", help="YAML file")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="as for train")
    command.add_argument("--quick", action="store_true", help="start nothing: no Ray, no DeepSpeed")


def _doctor(parsed: argparse.Namespace) -> int:
    from rl_distill.doctor.visit import visit
    from rl_distill.recipe import load_recipe

    recipe = load_recipe(parsed.recipe, parsed.overrides) if parsed.recipe is not None else None
    tally = visit(recipe, say=lambda line: print(line, flush=True), quick=parsed.quick)
    print(tally)
    return 1 if tally.fail else 0


def _plan_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", type=Path, help="YAML file")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="as for train")
    command.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs to divide between engines and learner; none is what the recipe asks"
    )
    command.add_argument("--gpu", metavar="NAME", help="for example H100; none, or this, measures this machine (some seconds)")
    command.add_argument("--hosts", type=int, metavar="N", help="that they are spread over")
    command.add_argument(
        "--machine", type=Path, metavar="FILE", help="numbers of another GPU, or `hardware` of an earlier --json"
    )
    command.add_argument(
        "--lengths-from", type=Path, metavar="RUN", help="folder of a past run, for the lengths of prompts and responses"
    )
    command.add_argument(
        "--mean-tokens", type=float, metavar="N", help="mean length of a response; none is a third of the longest"
    )
    command.add_argument("--max-tokens", type=int, metavar="N", help="longest response; none is the recipe's limit")
    command.add_argument("--prompt-tokens", type=int, metavar="N", help="mean length of a prompt")
    command.add_argument("--steps", type=int, metavar="N", help="steps of each stage; none is the recipe's")
    command.add_argument("--price", type=float, metavar="X", help="of a GPU for an hour")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the plan there too")


def _plan(parsed: argparse.Namespace) -> int:
    from rl_distill.planning.plan import Question, plan
    from rl_distill.planning.report import as_tree, lines
    from rl_distill.recipe import load_recipe

    names = ("gpus", "gpu", "hosts", "machine", "lengths_from", "mean_tokens", "max_tokens", "prompt_tokens", "steps", "price")
    if parsed.json is not None and not parsed.json.absolute().parent.is_dir():
        raise InputError("--json", f"{str(parsed.json)!r} lies in no folder that exists", "make the folder first")
    question = Question(**{name: getattr(parsed, name) for name in names})
    found = plan(load_recipe(parsed.recipe, parsed.overrides), question)
    print("\n".join(lines(found)))
    if parsed.json is not None:
        parsed.json.write_text(json.dumps(as_tree(found), indent=2) + "\n")
    return 0


def _curate_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", type=Path, help="YAML file")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="for example num_samples=4 folder=curated/four")
    command.add_argument("--dry-run", action="store_true", help="say what would be asked and what it can cost; ask nothing")
    command.add_argument("--explain-cache", action="store_true", help="say whether answers are stored, or which key differs")
    command.add_argument("--push", metavar="REPOSITORY", help="upload the published folder to the Hugging Face hub")


def _curate(parsed: argparse.Namespace) -> int:
    from rl_distill.curation import cost_preview
    from rl_distill.curation.pipeline import Curation
    from rl_distill.curation.publish import push
    from rl_distill.curation.recipe import load_curation

    curation = Curation(load_curation(parsed.recipe, parsed.overrides))
    if parsed.dry_run or parsed.explain_cache:
        lines = cost_preview.dry_run_lines(curation) if parsed.dry_run else cost_preview.cache_lines(curation)
        print("\n".join(lines))
        return 0
    try:
        published = curation.run()
    except RunError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"published: {published}")
    if parsed.push:
        print(f"pushed: {push(published, parsed.push)}")
    return 0


COMMANDS = {
    "recipes": Command("list the recipes, or every key with its default, unit and source", _recipes_arguments, _recipes),
    "doctor": Command(
        "check this machine, and what a recipe needs, and say what will not work and why", _doctor_arguments, _doctor
    ),
    "plan": Command("what a recipe will take: seconds, memory, traffic, the best layout, before renting", _plan_arguments, _plan),
    "curate": Command("from problems and a teacher to verified attempts and pairs", _curate_arguments, _curate),
}
