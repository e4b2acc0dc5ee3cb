"""What a user reads when a run has failed: what failed first, what is saved, how to go on."""

import shlex
import sys
import traceback
from pathlib import Path

from rl_distill.errors import WorkerLost
from rl_distill.learning.checkpoint import read_state
from rl_distill.sealing import damage
from rl_distill.training.interruption import Interrupted

MAX_CHARACTERS = 600  # of an error's own message; the whole of it is in the log

LAST_LINES = 12  # of a worker's log


def failure_report(error: BaseException, run_dir: Path, command: list[str]) -> str:
    """One page. The traceback goes to `failure.log` in the run folder, as far as that can be written."""
    if isinstance(error, KeyboardInterrupt):
        error = Interrupted("at once, by a second Ctrl-C; the step in hand will be done again")
    lines = [f"{'stopped' if isinstance(error, Interrupted) else 'failed'}: {_what(error)}"]
    if isinstance(error, WorkerLost) and error.log is not None:
        lines += _last_words(error.log)
    if not isinstance(error, Interrupted):
        lines.append(_where(error, run_dir))
    lines.append(f"saved:   {_saved(run_dir)}")
    lines.append(f"continue with: {shlex.join(command)}")
    return "\n".join(lines)


def _what(error: BaseException) -> str:
    """The message of an error of ours; of others that of the one which set them off."""
    if not type(error).__module__.startswith("rl_distill"):
        while (before := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
            error = before
    text = " ".join(str(error).split()) or "no message"
    text = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} ..."
    return text if type(error).__module__.startswith("rl_distill") else f"{type(error).__name__}: {text}"


def _last_words(log: Path) -> list[str]:
    """What a worker printed last, and where the rest of it is."""
    try:
        text = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-LAST_LINES:]
    except OSError:
        return []
    return [f"its log: {log}{', which ends' if text else ', which is empty'}", *(f"  | {line[:MAX_CHARACTERS]}" for line in text)]


def _where(error: BaseException, run_dir: Path) -> str:
    text = "".join(traceback.format_exception(error))
    log = run_dir / "failure.log"
    try:
        log.write_text(text)
    except OSError as problem:
        print(text, file=sys.stderr)
        return f"details: above ({log} cannot be written: {problem.strerror})"
    return f"details: {log}"


def _saved(run_dir: Path) -> str:
    finished = sorted(path.name for path in (run_dir / "stages").glob("[a-z]*") if path.is_dir())
    done = f"finished stages {', '.join(finished)}" if finished else ""
    checkpoints = [
        path for path in run_dir.glob("checkpoints/*/step-*") if path.parent.name not in finished and damage(path) is None
    ]
    if not checkpoints:
        return done or "nothing yet"
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime)
    return f"{done}{'; ' if done else ''}stage {newest.parent.name!r} up to step {read_state(newest)['step']} in {newest}"
