"""The command that gathers what runs have left into one page."""

import argparse
from pathlib import Path

from rl_distill.commands import Command
from rl_distill.commands.measuring import assumed_arguments

MEGABYTE = 1e6


def _report_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN_OR_SWEEP", help="its folder; runs at work or failed are fine")
    command.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="none is report.html")
    command.add_argument("--trajectories", type=int, default=10_000, metavar="N", help="attempts to show; none is 10,000")
    command.add_argument(
        "--evaluations", type=Path, metavar="FOLDER", help="where evaluations of these runs lie; none is evaluations/, if there"
    )
    assumed_arguments(command)


def _report(parsed: argparse.Namespace) -> int:
    from rl_distill.reporting.run_report import report

    found = report(
        parsed.runs,
        parsed.output,
        trajectories=parsed.trajectories,
        evaluations=parsed.evaluations,
        teacher_weights=parsed.teacher_weights,
        price=parsed.price,
    )
    print("\n".join([*(f"left out: {note}" for note in found.notes), f"report: {found.path} ({found.size / MEGABYTE:.1f} MB)"]))
    return 0


COMMANDS = {"report": Command("one page about runs and sweeps, which opens without network", _report_arguments, _report)}
