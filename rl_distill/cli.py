"""The command line: parses and calls, computes nothing. Exit codes: 0 done, 2 the input is wrong, 1 the run failed."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rl_distill import __version__
from rl_distill.errors import InputError, RunError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = _parsed(given)
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


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    """Overrides may stand before and after options, which argparse alone does not take."""
    parser = _parser()
    parsed, rest = parser.parse_known_args(given)
    if rest and (not hasattr(parsed, "overrides") or any(text.startswith("-") or "=" not in text for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        parsed.overrides += rest
    return parsed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rl-distill", description="Zero-RL, distillation, REDI or probes: which way makes a small model reason?"
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (about, arguments, run) in _commands().items():
        command = commands.add_parser(name, help=about)
        arguments(command)
        command.set_defaults(command=run)
    return parser


def _commands() -> dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]]:
    """By name: what the list of commands says, what adds the arguments, what runs it."""
    return {
        "train": ("run the stages of a recipe, or continue its run folder", _train_arguments, _train),
        "replay": ("repeat a run from its records, and see that every number is the same to the bit", _replay_arguments, _replay),
        "dialogues": ("a page to look at a run's probe dialogues: tokens, contexts, bonuses", _dialogues_arguments, _dialogues),
        "costs": ("what stages and routes of runs cost, and their accuracy against it", _costs_arguments, _costs),
        "gradients": ("what each algorithm would do to a student on the same groups", _gradients_arguments, _gradients),
        "status": ("what a run is doing: its workers, their weights, queues and rates", _status_arguments, _status),
        "recipes": ("list the recipes, or every key with its default, unit and source", _recipes_arguments, _recipes),
        "doctor": ("check this machine, and what a recipe needs, and say what will not work and why", _doctor_arguments, _doctor),
        "plan": ("what a recipe will take: seconds, memory, traffic, the best layout, before renting", _plan_arguments, _plan),
        "curate": ("from problems and a teacher to verified attempts and pairs", _curate_arguments, _curate),
        "evaluate": ("measure a model or a run's student on benchmarks, with intervals", _evaluate_arguments, _evaluate),
        "compare": ("whether two evaluated students differ, problem by problem", _compare_arguments, _compare),
        "analyze": ("how responses reason: words, behaviors, lengths; of one model or two", _analyze_arguments, _analyze),
        "verify": ("grade rows of {answer, response}", _verify_arguments, _verify),
    }


def _train_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", type=Path, help="YAML file")
    command.add_argument(
        "overrides", nargs="*", metavar="key=value", help="for example stages.redi.algorithm.negative_coef=0 run_dir=runs/control"
    )


def _train(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.dialogue_page import write_dialogue_page
    from rl_distill.analysis.dialogue_record import has_dialogues
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
        page = write_dialogue_page(recipe.folder) if has_dialogues(recipe.folder) else None
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
    if page is not None:
        print(f"dialogues: {page}")
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
    from rl_distill.errors import RunError
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


def _costs_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="its folder")
    command.add_argument("--teacher-weights", type=float, metavar="N", help="of a curated teacher, active for a token: its FLOPs")
    command.add_argument("--price", type=float, metavar="X", help="of a device for an hour, added to the teacher's bill")
    command.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="none is costs/ in the first run's folder")


def _costs(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.cost_report import write_costs
    from rl_distill.analysis.costs import Assumed, run_costs

    assumed = Assumed(teacher_weights=parsed.teacher_weights, price=parsed.price)
    runs = [run_costs(run, assumed) for run in parsed.runs]
    print("\n".join(write_costs(runs, parsed.output or parsed.runs[0] / "costs")))
    return 0


def _gradients_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("student", metavar="STUDENT", help="folder or hub name")
    command.add_argument("groups", type=Path, metavar="GROUPS", help="JSON lines of groups, as in a run's trajectories/")
    command.add_argument("--algorithms", nargs="+", metavar="NAME", help="of the table; none compares all, with their defaults")
    command.add_argument("--teacher", metavar="MODEL", help="folder or hub name; none is the student itself")
    command.add_argument("--reference", metavar="MODEL", help="folder or hub name; none is the student itself")
    command.add_argument("--first", type=int, metavar="N", help="read the first N groups; none reads all")
    command.add_argument("-o", "--output", type=Path, default=Path("gradients"), metavar="FOLDER", help="none is gradients/")


def _gradients(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.gradient_report import first_groups, write_gradients
    from rl_distill.analysis.gradients import gradients

    groups = first_groups(parsed.groups, parsed.first)
    found = gradients(parsed.student, groups, parsed.algorithms, teacher=parsed.teacher, reference=parsed.reference)
    print("\n".join(write_gradients(found, parsed.output)))
    return 0


def _status_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="its folder")


def _status(parsed: argparse.Namespace) -> int:
    from rl_distill.training.status import status_lines

    print("\n".join(status_lines(parsed.run)))
    return 0


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


def _analyze_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("samples", metavar="SAMPLES", help="RUN:STAGE, FOLDER:BENCHMARK, or a file or folder of graded attempts")
    command.add_argument("second", nargs="?", metavar="SAMPLES2", help="answers of another model to the same problems")
    command.add_argument(
        "--classes", type=Path, metavar="FILE", help="classes of words; none is the package's token_classes.yaml"
    )
    command.add_argument(
        "--moved", nargs=2, metavar=("MODEL_A", "MODEL_B"), help="checkpoints, or RUN:STAGE: which tokens' log-probs moved"
    )
    command.add_argument("--judge", type=Path, metavar="RECIPE", help="YAML of a judge that marks behaviors, see the README")
    command.add_argument("-o", "--output", type=Path, default=Path("analysis"), metavar="FOLDER", help="none is analysis")


def _analyze(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.analyze import analyze

    sources = [one for one in (parsed.samples, parsed.second) if one]
    try:
        analyze(sources, parsed.output, classes=parsed.classes, moved=parsed.moved, judge=parsed.judge)
    except RunError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print((parsed.output / "analysis.md").read_text(encoding="utf-8"))
    print(f"written to {parsed.output}")
    return 0


def _verify_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, help="JSON lines")
    command.add_argument(
        "-o", "--output", type=Path, help="where the graded rows go; none is FILE with .verified before its ending"
    )
    command.add_argument("--deadline", type=float, default=None, help="seconds for each answer")


def _verify(parsed: argparse.Namespace) -> int:
    from rl_distill.evaluation.verify import verify_file

    output = parsed.output or parsed.file.with_suffix(f".verified{parsed.file.suffix}")
    counts = verify_file(parsed.file, output, deadline=parsed.deadline)
    print("  ".join(f"{status} {count}" for status, count in counts.items()) + f"   written to {output}")
    return 0


def _evaluate_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", nargs="?", metavar="MODEL_OR_RUN", help="a model's folder or hub name, a run, or RUN:STAGE")
    command.add_argument(
        "overrides", nargs="*", metavar="key=value", help="for example sampling.max_tokens=4096 engine.dtype=float32"
    )
    command.add_argument("--benchmarks", default="", metavar="A,B", help="by name; see --list")
    command.add_argument("--benchmark-file", type=Path, action="append", default=[], metavar="F", help="one of your own, in YAML")
    command.add_argument("--samples", type=int, metavar="N", help="attempts at each problem; none is the benchmark's number")
    command.add_argument("--problems", type=int, metavar="N", help="only the first so many of each benchmark")
    command.add_argument("--k", default="", metavar="1,8", help="of pass@k and maj@k; none is 1, 2, 4, ... and all samples")
    command.add_argument("--engine", default="hf", metavar="hf|vllm", help="what samples")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of sampling")
    command.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="none is evaluations/MODEL; an existing one goes on")
    command.add_argument("--list", action="store_true", help="show the benchmarks that come with the package")


def _evaluate(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.evaluation_table import EVALUATION_HEADER, benchmark_lines, evaluation_rows
    from rl_distill.analysis.table import markdown
    from rl_distill.evaluation.benchmark_run import evaluate

    if parsed.list:
        print("\n".join(benchmark_lines()))
        return 0
    if parsed.model is None:
        raise InputError("MODEL_OR_RUN", "is missing", "give a model's folder or hub name, a run, or RUN:STAGE")
    try:
        report = evaluate(
            parsed.model,
            [*_names(parsed.benchmarks), *parsed.benchmark_file],
            num_samples=parsed.samples,
            num_problems=parsed.problems,
            ks=_numbers(parsed.k),
            engine=parsed.engine,
            seed=parsed.seed,
            output=parsed.output,
            overrides=parsed.overrides,
            say=lambda line: print(line, flush=True),
        )
    except RunError as error:
        print(f"failed: {error}; the same command goes on from what was saved", file=sys.stderr)
        return 1
    print(
        "\n".join(["", markdown(EVALUATION_HEADER, evaluation_rows(report.scores)), *(f"note: {note}" for note in report.notes)])
    )
    print(f"results: {report.folder / 'evaluation.json'}")
    return 0


def _compare_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("first", metavar="A", help="folder of an evaluation, or RUN:STAGE of a run that evaluates")
    command.add_argument("second", metavar="B", help="as A")
    command.add_argument("--benchmarks", default="", metavar="A,B", help="by name; none is all that both have")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the test, where it draws")


def _compare(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.evaluation_table import COMPARISON_HEADER, comparison_rows
    from rl_distill.analysis.table import markdown
    from rl_distill.evaluation.comparison import compare

    report = compare(parsed.first, parsed.second, _names(parsed.benchmarks) or None, seed=parsed.seed)
    print(f"A: {report.first}   B: {report.second}\n\n{markdown(COMPARISON_HEADER, comparison_rows(report.comparisons))}\n")
    print("\n".join([*(one.sentence for one in report.comparisons.values()), *(f"note: {note}" for note in report.notes)]))
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int] | None:
    if not all(name.isdecimal() for name in _names(text)):
        raise InputError("--k", f"is {text!r}", "give whole numbers with commas between them")
    return [int(name) for name in _names(text)] or None
