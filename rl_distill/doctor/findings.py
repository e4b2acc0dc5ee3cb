"""What a check finds, and the way from a table of checks to lines and an exit code."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rl_distill.doctor.subject import Subject
from rl_distill.errors import InputError

Status = Literal["ok", "note", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """
    ok    the fact
    note  what is well to know, with a remedy if there is one
    fail  what will not work and why; the remedy
    """

    status: Status
    text: str


def ok(text: str) -> Finding:
    return Finding("ok", text)


def note(text: str) -> Finding:
    return Finding("note", text)


def fail(problem: str, remedy: str) -> Finding:
    return Finding("fail", f"{problem}; {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """
    look      finds out; an InputError that it raises is a fail
    needs     names of checks that have to be ok, or this one has nothing to look at
    thorough  starts processes, so that it is left out where only a quick look is wanted
    """

    name: str
    look: Callable[[Subject], Finding | Sequence[Finding]]
    needs: tuple[str, ...] = ()
    thorough: bool = False


@dataclass(slots=True)
class Tally:
    """How many findings of each kind there were, and which checks were left out."""

    ok: int = 0
    note: int = 0
    fail: int = 0
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        left_out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        return f"{self.ok} ok, {self.note} notes, {self.fail} failed{left_out}"


def examine(checks: Sequence[Check], subject: Subject, tally: Tally, *, quick: bool = False) -> Iterator[str]:
    """A line for each finding, as soon as it is there. A check that breaks is a finding too."""
    bad: set[str] = set()
    for check in checks:
        if bad & set(check.needs) or (check.thorough and quick):
            tally.left_out += (check.name,)
            bad.add(check.name)
            continue
        for finding in _found(check, subject):
            setattr(tally, finding.status, getattr(tally, finding.status) + 1)
            if finding.status != "ok":
                bad.add(check.name)
            yield f"{finding.status:<4} {check.name}: {' '.join(finding.text.split())}"


def _found(check: Check, subject: Subject) -> Sequence[Finding]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = check.look(subject)
    except InputError as error:
        return [Finding("fail", str(error))]
    except Exception as error:  # a library may raise anything on a machine that is not well, which is what is looked for
        reason = " ".join(str(error).split())[:300]
        return [Finding("fail", f"the check broke off with {type(error).__name__} ({reason}); mend that, and look again")]
    return [found] if isinstance(found, Finding) else found
