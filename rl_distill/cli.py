"""The command line: parses and calls, computes nothing. Exit codes: 0 done, 2 the input is wrong, 1 the run failed."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from rl_distill import __version__
from rl_distill.commands import measuring, preparing, reporting, running
from rl_distill.errors import InputError

COMMANDS = running.COMMANDS | preparing.COMMANDS | measuring.COMMANDS | reporting.COMMANDS


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
    for name, (about, arguments, run) in COMMANDS.items():
        command = commands.add_parser(name, help=about)
        arguments(command)
        command.set_defaults(command=run)
    return parser
