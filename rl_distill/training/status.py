"""What a run is doing, read from its folder alone: from another terminal, on any host that sees it."""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rl_distill.cluster.host import WORKERS
from rl_distill.errors import InputError
from rl_distill.training.differences import whole_rows
from rl_distill.training.run_folder import LOCK, lock_owner

RECENT = 10  # steps that rates are taken over


class RunState(NamedTuple):
    """Where a run stands, as one of four kinds and in words. `stopped` is a run that ended early without a failure."""

    kind: Literal["alive", "finished", "failed", "stopped"]
    words: str


def status_lines(run_dir: Path) -> Iterator[str]:
    """
    Raises:
        InputError: it is no run's folder.
    """
    if not (run_dir / "recipe.yaml").is_file():
        raise InputError("RUN", f"{str(run_dir)!r} holds no run", "give the folder of a run (its run_dir)")
    yield f"{run_dir}: {run_state(run_dir).words}"
    rows = _metrics(run_dir)
    if rows:
        yield from _progress(rows)
    workers = _workers(run_dir) if _locked(run_dir) else []  # a driver that was killed leaves the list behind
    if workers:
        yield f"{'worker':<14}{'pid':>9}  {'host':<20}{'weights':>8}"
        for row in workers:
            version = "-" if row["version"] is None else str(row["version"])
            yield f"{row['role']} {row['rank']:<{13 - len(row['role'])}}{row['pid']:>9}  {row['host']:<20}{version:>8}"


def run_state(run_dir: Path) -> RunState:
    """What became of a run, as its folder says: whoever works in it holds its lock."""
    if _locked(run_dir):
        return RunState("alive", f"at work, driven by {lock_owner(run_dir)}")
    if (run_dir / "summary.json").exists():
        return RunState("finished", "finished")
    failure = run_dir / "failure.log"
    if failure.exists():
        return RunState("failed", f"stopped; what failed last is in {failure}")
    return RunState("stopped", "stopped before its end; the command that started it continues it")


def _locked(run_dir: Path) -> bool:
    lock = run_dir / LOCK
    if not lock.exists():
        return False
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _metrics(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / "metrics.jsonl"
    if not path.exists():
        return []
    try:
        return whole_rows(path)[-2 * RECENT :]
    except ValueError as error:
        raise InputError(
            str(path), f"is damaged ({error})", "restore it; `rl-distill report` shows what can be read of the run"
        ) from None


def _progress(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The newest step and the rates of the last ones of its stage."""
    newest = rows[-1]
    recent = [row for row in rows if row["stage"] == newest["stage"]][-RECENT:]
    seconds = sum(row["time/step"] for row in recent) / len(recent)
    yield f"stage {newest['stage']!r}: {newest['step'] + 1} steps, {seconds:.2f} s each over the last {len(recent)}"
    shown = {
        "loss": "loss",
        "rollout/correct_fraction": "correct",
        "rollout/queued_groups": "groups that wait for the learner",
        "staleness/mean": "staleness, mean",
        "staleness/max": "staleness, most",
        "engine/idle_fraction": "engines idle",
        "learner/idle_fraction": "learner idle",
    }
    facts = [f"{text} {newest[path]:.4g}" for path, text in shown.items() if path in newest]
    tokens = [row["rollout/generated_tokens"] for row in recent if "rollout/generated_tokens" in row]
    if tokens:
        facts.append(f"{sum(tokens) / len(tokens) / seconds:,.0f} tokens sampled a second")
    yield "  " + ", ".join(facts)


def _workers(run_dir: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = json.loads((run_dir / WORKERS).read_text())
    except (OSError, ValueError):
        return []
    return sorted(rows, key=lambda row: (row["role"], row["rank"]))
