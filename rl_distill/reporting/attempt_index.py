"""Where recorded attempts lie, and which of them a report shows: whole groups, drawn by their problems, never more than asked."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from rl_distill.reporting.benchmark_page import Evaluation
from rl_distill.reporting.notes import readable
from rl_distill.reporting.run_facts import RunFacts

Kind = Literal["held-out", "benchmark", "rollout"]
KINDS: tuple[Kind, ...] = ("held-out", "benchmark", "rollout")
ROLLOUTS = Path("trajectories") / "rollouts.jsonl"
MAX_TOKENS = 4_000_000  # that all shown attempts may have together: a browser keeps them in its memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a file with one attempt or with a group of them.

    round  how many lines of the same student about the same problem stand before it
    """

    kind: Kind
    run: int
    stage: str
    path: Path
    offset: int
    problem: str
    attempts: int
    tokens: int
    round: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The lines that are shown, and how many attempts there are of each kind: {kind: (shown, recorded)}."""

    lines: tuple[Line, ...]
    counts: Mapping[Kind, tuple[int, int]]

    @property
    def rule(self) -> str:
        """What a reader has to know of what is missing."""
        recorded = sum(known for _, known in self.counts.values())
        shown = sum(count for count, _ in self.counts.values())
        if shown == recorded:
            return f"All {recorded:,} recorded attempts are here."
        parts = ", ".join(f"{count:,} of {known:,} {kind}" for kind, (count, known) in self.counts.items() if known)
        return (
            f"{shown:,} of {recorded:,} recorded attempts are here ({parts}): each kind gets an equal share of the room, "
            "problems are drawn by a hash of their id, the same for every student, and first answers come before second ones."
        )


def find_lines(runs: Sequence[RunFacts], evaluations: Sequence[Evaluation]) -> Iterator[Line]:
    """Of every recorded attempt: held-out answers of finished stages, samples of benchmarks, recorded rollouts."""
    for number, run in enumerate(runs):
        for stage in run.results:
            path = run.path / "stages" / stage / "evaluation.jsonl"
            yield from _read(run.notes, path, "held-out", number, stage)
        yield from _read(run.notes, run.path / ROLLOUTS, "rollout", number, "")
    for one in evaluations:
        for benchmark in one.result["benchmarks"]:
            yield from _read(runs[one.run].notes, one.samples(benchmark), "benchmark", one.run, one.stage)


def select(lines: Sequence[Line], limit: int) -> Selection:
    """Lines with `limit` attempts at most, and not too many tokens.

    Kinds share the room equally, and what one leaves is for the others. In each, lines are taken in the order of their round and
    of a hash of their problem, until the next one would be too much.
    """
    by_kind: dict[Kind, list[Line]] = defaultdict(list)
    for line in lines:
        by_kind[line.kind].append(line)
    present = sorted(by_kind, key=lambda kind: sum(line.attempts for line in by_kind[kind]))
    chosen: dict[Kind, list[Line]] = {}
    room, tokens = limit, MAX_TOKENS
    for place, kind in enumerate(present):
        sharers = len(present) - place
        chosen[kind] = _first(by_kind[kind], room // sharers, tokens // sharers)
        room -= sum(line.attempts for line in chosen[kind])
        tokens -= sum(line.tokens for line in chosen[kind])
    counts = {kind: (_attempts(chosen.get(kind, [])), _attempts(by_kind[kind])) for kind in KINDS}
    return Selection(lines=tuple(line for kind in KINDS for line in chosen.get(kind, [])), counts=counts)


def read_line(line: Line) -> dict[str, Any]:
    with line.path.open("rb") as file:
        file.seek(line.offset)
        return dict(json.loads(file.readline()))


def _attempts(lines: Sequence[Line]) -> int:
    return sum(line.attempts for line in lines)


def _first(lines: Sequence[Line], room: int, tokens: int) -> list[Line]:
    kept: list[Line] = []
    for line in sorted(
        lines, key=lambda line: (line.round, _hash(line.problem), line.problem, line.run, line.stage, line.offset)
    ):
        room, tokens = room - line.attempts, tokens - line.tokens
        if room < 0 or tokens < 0:
            break
        kept.append(line)
    return kept


def _hash(problem: str) -> bytes:
    return sha256(problem.encode("utf-8", "replace")).digest()


def _read(notes: list[str], path: Path, kind: Kind, run: int, stage: str) -> list[Line]:
    return readable(notes, path.name, [], _lines, path, kind, run, stage) if path.is_file() else []


def _lines(path: Path, kind: Kind, run: int, stage: str) -> list[Line]:
    """The last line of a run at work may be unfinished, and is none."""
    seen: Counter[tuple[str, str]] = Counter()
    found, offset = [], 0
    with path.open("rb") as file:
        for text in file:
            if text.endswith(b"\n") and text.strip():
                plain = json.loads(text)
                where = stage or str(plain["stage"])
                line = Line(kind=kind, run=run, stage=where, path=path, offset=offset, **_size(plain))
                found.append(replace(line, round=seen[line.stage, line.problem]))
                seen[line.stage, line.problem] += 1
            offset += len(text)
    return found


def _size(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Of a group, or of a line of `evaluation.jsonl`, whose tokens are not kept."""
    if isinstance(plain["problem"], Mapping):
        attempts = plain["trajectories"]
        tokens = sum(len(one["token_ids"]) for one in attempts)
        return {"problem": str(plain["problem"]["id"]), "attempts": len(attempts), "tokens": tokens}
    return {"problem": str(plain["problem"]), "attempts": 1, "tokens": int(plain["tokens"])}
