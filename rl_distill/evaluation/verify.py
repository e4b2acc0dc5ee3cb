"""Grades a file of answers: behind `rl-distill verify FILE.jsonl -o OUT`."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.rewards.accuracy import Accuracy
from rl_distill.trajectory import Verdict

_ADDED = ("verdict", "method")


def verify_file(path: Path, out: Path, *, deadline: float | None = None) -> dict[str, int]:
    """Grade rows of {answer, response, ...} and write them with `verdict` and `method` added; how many had each verdict.

    Rows keep their order and their text: the two columns are appended to each line as it stands. `answer` is text, a whole
    number, or null where nobody knows it. The output appears whole or not at all, and may replace the input.

    Args:
        deadline: seconds for one symbolic comparison; None is the reward's default.

    Raises:
        InputError: a file cannot be read or written, or a row is malformed (by its line number).
    """
    if not out.parent.is_dir():
        raise InputError("-o", f"folder {str(out.parent)!r} does not exist", "create it, or write elsewhere")
    lines = _lines(path)
    if not lines:
        raise InputError(str(path), "holds no rows", "give rows of {answer, response}")
    try:
        _working(out).touch()
        _working(out).unlink()
    except OSError as error:
        raise InputError("-o", f"{str(out)!r} cannot be written ({error.strerror})", "write elsewhere") from None
    pairs = [_pair(line, f"{path}, line {number}") for number, line in lines]
    accuracy = Accuracy() if deadline is None else parse(Accuracy, {"deadline": deadline})
    verdicts = accuracy.grade(pairs)
    _write_atomically(out, [_extended(line, verdict) for (_, line), verdict in zip(lines, verdicts, strict=True)])
    found = Counter(verdict.status for verdict in verdicts)
    return {"correct": found["correct"], "wrong": found["wrong"], "unverifiable": found["unverifiable"]}


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that hold a row, with their numbers from 1."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", "give a readable JSON Lines file") from None
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"is not UTF-8 ({error.reason} at byte {error.start})", "save it as UTF-8") from None
    numbered = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return [(number, line) for number, line in numbered if line]


def _pair(line: str, where: str) -> tuple[str | None, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(where, f"is not JSON ({error})", "mend or remove the line") from None
    if not isinstance(row, dict):
        raise InputError(where, "is not a JSON object", "write {answer, response} rows")
    for key in ("answer", "response"):
        if key not in row:
            raise InputError(where, f"has no {key!r}", "every row needs `answer` (the gold answer, or null) and `response`")
    for key in _ADDED:
        if key in row:
            raise InputError(where, f"already has a column {key!r}", "rename or drop it first")
    answer, response = row["answer"], row["response"]
    if isinstance(answer, int) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(answer, str | None):
        raise InputError(where, f"has an `answer` of type {type(answer).__name__}", "write it as text, or null")
    if not isinstance(response, str):
        raise InputError(where, f"has a `response` of type {type(response).__name__}", "write it as text")
    return answer, response


def _extended(line: str, verdict: Verdict) -> str:
    added = json.dumps(dict(zip(_ADDED, (verdict.status, verdict.method), strict=True)))
    return f"{line[:-1].rstrip()}, {added[1:]}"


def _write_atomically(out: Path, lines: Sequence[str]) -> None:
    working = _working(out)
    try:
        with working.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
        working.replace(out)
    except BaseException:
        working.unlink(missing_ok=True)
        raise


def _working(out: Path) -> Path:
    return out.with_name(f".{out.name}.{os.getpid()}.tmp")
