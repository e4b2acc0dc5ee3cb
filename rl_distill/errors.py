"""The two ways a command can end badly; `cli` turns each into its exit code and message."""

from collections.abc import Sequence
from pathlib import Path


class InputError(Exception):
    """The user's input is wrong (exit code 2). One line: the field, what is wrong with its value, the remedy.

    Example:
        >>> str(InputError("steps", "is -3", "give a positive number of optimizer steps"))
        'steps: is -3; give a positive number of optimizer steps'
    """

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(field, problem, remedy)
        self.field, self.problem, self.remedy = field, problem, remedy

    def __str__(self) -> str:
        return " ".join(f"{self.field}: {self.problem}; {self.remedy}".split())


class RunError(Exception):
    """The run failed after it had started well (exit code 1); what was saved stays, and the message says what broke."""


class WorkerLost(RunError):
    """A process of the run died or fell silent; what it held is lost, and a stage can go on from its last checkpoint.

    workers  who is meant, as the cluster knows them
    log      what the first of them printed
    """

    def __init__(self, message: str, workers: Sequence[object] = (), log: Path | None = None) -> None:
        super().__init__(message)
        self.workers, self.log = tuple(workers), log
