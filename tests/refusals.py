"""What the command line says when it refuses an input."""

import re

Outcome = tuple[int, str, str]  # exit code, stdout, stderr


def refused(outcome: Outcome) -> str:
    """The text after `error: ` of a command that said exactly one line, on stderr."""
    code, out, err = outcome
    assert (code, out) == (2, ""), err
    assert re.fullmatch(r"error: [^\n]+: [^\n]+; [^\n]+\n", err), err
    return err.removeprefix("error: ").strip()


def last_line(outcome: Outcome) -> Outcome:
    """A run that got as far as making its base student has said so."""
    code, out, err = outcome
    assert all(line.startswith("base: ") for line in out.splitlines())
    return code, "", err
