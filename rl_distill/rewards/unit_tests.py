"""Does the program pass its tests? Every test runs in a sandbox; what it says is judged outside."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import ClassVar, Literal

from rl_distill.config import config, setting
from rl_distill.rewards.answers import python_code
from rl_distill.rewards.base import Attempt, Verifier, with_ending
from rl_distill.rewards.code_tests import CallTest, PrintTest, problem_tests
from rl_distill.rewards.sandbox import Ending, check_machine, run
from rl_distill.rewards.sandbox_watch import Limits
from rl_distill.trajectory import Problem, Status, Verdict

MIN_OUTPUT_BYTES = 1 << 20  # that a program may print; or several times what is expected

_METHODS: dict[Ending, tuple[Status, str]] = {
    "crashed": ("wrong", "crash"),
    "output_limit": ("wrong", "output_limit"),
    "resource_limit": ("wrong", "resource_limit"),
    "timeout": ("unverifiable", "timeout"),
    "memory": ("unverifiable", "memory"),
    "killed": ("unverifiable", "killed"),
    "not_started": ("unverifiable", "sandbox_error"),
}


@config
class UnitTests(Verifier):
    """Runs the last fenced Python block of a response against the tests in `Problem.metadata["tests"]`: it must pass them all.

    A test is `{"stdin": text, "stdout": text}`, or `{"call": name, "arguments": [...], "expected": value}` where the name is that
    of a function or `Class.method`. They run in order, each in a process of its own, up to the first that is not passed.

    | method | status | when |
    |---|---|---|
    | `no_tests` | unverifiable | the problem has none |
    | `generation_error` | unverifiable | sampling failed: there is no attempt |
    | `truncated` | wrong | no closed block of code, and the token limit cut the response |
    | `no_code` | wrong | no fenced block of Python |
    | `tests` | correct | all passed |
    | `output` | wrong | another output or value than expected, or none |
    | `crash` | wrong | an exception, an exit code that is not 0, a signal |
    | `output_limit`, `resource_limit` | wrong | it prints without end, fills its folder or starts threads without end |
    | `timeout`, `memory` | unverifiable | it needs more than `deadline` or `memory`, and might be right |
    | `killed`, `sandbox_error` | unverifiable | the machine was out of memory, or could not start it |

    Programs have Python's library and the installed packages, threads and a scratch folder; no processes and no sockets.
    An unverifiable attempt has no reward (None), never 0.
    """

    evidence: ClassVar[str] = "tests"

    name: Literal["unit_tests"] = "unit_tests"
    deadline: float = setting(
        10.0,
        about="time for one test, with some 0.03 s to start Python",
        unit="seconds",
        source="Bespoke-Stratos (10 s for TACO)",
        gt=0,
        le=3600,
    )
    memory: int = setting(1024, about="address space of a program, its libraries and thread stacks included", unit="MiB", ge=128)
    workers: int = setting(2, about="programs that run at the same time", ge=1)
    tolerance: float = setting(
        1e-6, about="how far a number with a fraction may lie from the expected one, absolute or relative", ge=0, lt=1
    )
    isolation: Literal["full", "limits_only"] = setting(
        "full",
        about="full: no network, files or processes, refused where the machine cannot give that; limits_only: trusted programs",
    )

    def check_machine(self) -> None:
        check_machine(isolated=self.isolation == "full")

    def can_judge(self, problem: Problem) -> bool:
        return bool(problem_tests(problem))

    def verdicts(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        """What is known about each attempt, in order.

        Raises:
            InputError: a test is malformed, or this machine cannot isolate programs.
        """
        graded = self.grade([(problem_tests(problem), trajectory.response) for problem, trajectory in attempts])
        endings = [trajectory.finish_reason for _, trajectory in attempts]
        return [with_ending(verdict, ending, "no_code") for verdict, ending in zip(graded, endings, strict=True)]

    def grade(self, pairs: Sequence[tuple[Sequence[PrintTest | CallTest], str]]) -> list[Verdict]:
        """The verdict for each pair of tests and a response, in order.

        Raises:
            InputError: this machine cannot isolate programs.
        """
        found: list[Verdict | str] = [_cheap(tests, response) for tests, response in pairs]
        waiting = [(place, code) for place, code in enumerate(found) if not isinstance(code, Verdict)]
        if waiting:
            self.check_machine()
        stop = Event()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="unit_tests") as pool:
            try:
                judged = pool.map(lambda item: self._judged(pairs[item[0]][0], item[1], stop), waiting)
                for (place, _), verdict in zip(waiting, judged, strict=True):
                    found[place] = verdict
            finally:
                stop.set()  # after an interrupt nothing further is started
        return [verdict for verdict in found if isinstance(verdict, Verdict)]

    def _judged(self, tests: Sequence[PrintTest | CallTest], code: str, stop: Event) -> Verdict:
        for number, test in enumerate(tests, start=1):
            if stop.is_set():
                return Verdict(status="unverifiable", method="interrupted")
            failure = self._failure(test, code)
            if failure is not None:
                detail = (
                    f"test {number} of {len(tests)}: {failure.detail}" if failure.detail else f"test {number} of {len(tests)}"
                )
                return Verdict(status=failure.status, method=failure.method, detail=detail)
        return Verdict(status="correct", method="tests", detail=f"{len(tests)} passed")

    def _failure(self, test: PrintTest | CallTest, code: str) -> Verdict | None:
        """What is wrong with the program by this test; None if it passes."""
        limits = Limits(
            deadline=self.deadline,
            memory=self.memory << 20,
            output=max(MIN_OUTPUT_BYTES, 8 * test.expected_length),
            isolated=self.isolation == "full",
        )
        if isinstance(test, PrintTest):
            execution = run(code, limits, stdin=test.stdin)
            said = execution.stdout
        else:
            execution = run(code, limits, call={"call": test.call, "arguments": test.arguments})
            said = execution.returned
        if execution.ending != "finished":
            status, method = _METHODS[execution.ending]
            return Verdict(status=status, method=method, detail=execution.detail)
        return None if test.passed(said, self.tolerance) else Verdict(status="wrong", method="output", detail=repr(said)[:100])


def _cheap(tests: Sequence[PrintTest | CallTest], response: str) -> Verdict | str:
    """A verdict, or the program that has to be run."""
    if not tests:
        return Verdict(status="unverifiable", method="no_tests")
    code = python_code(response)
    return Verdict(status="wrong", method="no_code") if code is None or not code.strip() else code
