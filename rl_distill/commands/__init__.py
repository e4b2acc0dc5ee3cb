"""What stands behind each word of the command line: thin functions, which import what they call when they run."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import NamedTuple


class Command(NamedTuple):
    """
    about      a line for the list of commands
    arguments  adds its arguments to a parser
    run        does it; returns the exit code
    """

    about: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
