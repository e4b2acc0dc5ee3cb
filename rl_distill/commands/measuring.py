"""Commands that measure: students, their responses, what runs cost, what objectives do."""

import argparse
import sys
from pathlib import Path

from rl_distill.commands import Command
from rl_distill.errors import InputError, RunError


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
    from rl_distill.evaluation.benchmark_run import evaluate
    from rl_distill.evaluation.evaluation_table import benchmark_lines

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
    print(f"\n{report}")
    print(f"results: {report.folder / 'evaluation.json'}")
    return 0


def _compare_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("first", metavar="A", help="folder of an evaluation, or RUN:STAGE of a run that evaluates")
    command.add_argument("second", metavar="B", help="as A")
    command.add_argument("--benchmarks", default="", metavar="A,B", help="by name; none is all that both have")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the test, where it draws")


def _compare(parsed: argparse.Namespace) -> int:
    from rl_distill.evaluation.comparison import compare

    print(compare(parsed.first, parsed.second, _names(parsed.benchmarks) or None, seed=parsed.seed))
    return 0


def _analyze_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("samples", metavar="SAMPLES", help="RUN:STAGE, FOLDER:BENCHMARK, or a file or folder of graded attempts")
    command.add_argument("second", nargs="?", metavar="SAMPLES2", help="answers of another model to the same problems")
    command.add_argument(
        "--classes", type=Path, metavar="FILE", help="classes of words; none is the package's token_classes.yaml"
    )
    command.add_argument(
        "--moved",
        nargs=2,
        metavar=("MODEL_A", "MODEL_B"),
        help="folders, hub names, runs or RUN:STAGE: which tokens' log-probs moved",
    )
    command.add_argument("--judge", type=Path, metavar="RECIPE", help="YAML of a judge of behaviors, see docs/guides/analyze.md")
    command.add_argument("-o", "--output", type=Path, default=Path("analysis"), metavar="FOLDER", help="none is analysis")


def _analyze(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.analyze import analyze

    sources = [one for one in (parsed.samples, parsed.second) if one]
    failure = None
    try:
        analyze(sources, parsed.output, classes=parsed.classes, moved=parsed.moved, judge=parsed.judge)
    except RunError as error:
        failure = error
    print((parsed.output / "analysis.md").read_text(encoding="utf-8"))
    print(f"written to {parsed.output}")
    if failure is not None:
        print(f"failed: {failure}", file=sys.stderr)
        return 1
    return 0


def assumed_arguments(command: argparse.ArgumentParser) -> None:
    """What no run folder knows, and costs depend on."""
    command.add_argument("--teacher-weights", type=float, metavar="N", help="of a curated teacher, active for a token: its FLOPs")
    command.add_argument("--price", type=float, metavar="X", help="of a device for an hour, added to the teacher's bill")


def _costs_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="its folder")
    assumed_arguments(command)
    command.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="none is costs/ in the first run's folder")


def _costs(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.cost_report import write_costs
    from rl_distill.analysis.costs import Assumed, run_costs

    assumed = Assumed(teacher_weights=parsed.teacher_weights, price=parsed.price)
    runs = [run_costs(run, assumed) for run in parsed.runs]
    print("\n".join(write_costs(runs, parsed.output or parsed.runs[0] / "costs")))
    return 0


def _gradients_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("student", metavar="STUDENT", help="a model's folder or hub name, a run, or RUN:STAGE")
    command.add_argument("groups", type=Path, metavar="GROUPS", help="JSON lines of groups, as in a run's trajectories/")
    command.add_argument("--algorithms", nargs="+", metavar="NAME", help="of the table; none compares all, with their defaults")
    command.add_argument("--teacher", metavar="MODEL", help="as STUDENT; none is the student itself")
    command.add_argument("--reference", metavar="MODEL", help="as STUDENT; none is the student itself")
    command.add_argument("--first", type=int, metavar="N", help="read the first N groups; none reads all")
    command.add_argument("-o", "--output", type=Path, default=Path("gradients"), metavar="FOLDER", help="none is gradients/")


def _gradients(parsed: argparse.Namespace) -> int:
    from rl_distill.analysis.gradient_report import first_groups, write_gradients
    from rl_distill.analysis.gradients import gradients

    groups = first_groups(parsed.groups, parsed.first)
    found = gradients(parsed.student, groups, parsed.algorithms, teacher=parsed.teacher, reference=parsed.reference)
    print("\n".join(write_gradients(found, parsed.output)))
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


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int] | None:
    if not all(name.isdecimal() for name in _names(text)):
        raise InputError("--k", f"is {text!r}", "give whole numbers with commas between them")
    return [int(name) for name in _names(text)] or None


COMMANDS = {
    "evaluate": Command("measure a model or a run's student on benchmarks, with intervals", _evaluate_arguments, _evaluate),
    "compare": Command("whether two evaluated students differ, problem by problem", _compare_arguments, _compare),
    "analyze": Command("how responses reason: words, behaviors, lengths; of one model or two", _analyze_arguments, _analyze),
    "costs": Command("what stages and routes of runs cost, and their accuracy against it", _costs_arguments, _costs),
    "gradients": Command("what each algorithm would do to a student on the same groups", _gradients_arguments, _gradients),
    "verify": Command("grade rows of {answer, response}", _verify_arguments, _verify),
}
