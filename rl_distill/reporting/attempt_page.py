"""Attempts for the browser of the report: an index that is filtered, and pieces of full records that it unpacks one at a time."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rl_distill.analysis.dialogue_record import tokenizer_of
from rl_distill.analysis.dialogue_turns import Decode, Turn, turns_of
from rl_distill.records import group_from_dict
from rl_distill.reporting.attempt_index import Line, Selection, read_line
from rl_distill.reporting.notes import readable
from rl_distill.reporting.payload import rounded
from rl_distill.reporting.run_facts import RunFacts
from rl_distill.trajectory import Group, Trajectory

PIECE = 200  # attempts that are unpacked together
PREVIEW = 90  # characters
COLUMNS = ("kind", "run", "stage", "step", "problem", "status", "tokens", "reward", "advantage", "finish", "context", "preview")
CENTINATS = 100  # log-probs are kept to a hundredth
REMEMBERED = 200_000  # pieces of text that a run's decoder keeps
Record = dict[str, Any]


def attempt_data(selection: Selection, runs: Sequence[RunFacts]) -> tuple[dict[str, Any], list[list[Record]]]:
    """(the index, a column each of `COLUMNS`; the full records in the same order, `PIECE` of them together)."""
    shown: list[tuple[list[Any], Record]] = []
    decoders: dict[int, Decode | None] = {}
    for line in selection.lines:
        run = runs[line.run]
        if line.run not in decoders:
            decoders[line.run] = readable(run.notes, "tokenizer", None, _decoder, run.path)
        shown += readable(run.notes, line.path.name, [], _attempts, line, decoders[line.run])
    shown.sort(key=lambda one: (one[0][4], one[0][0], one[0][1]))  # answers to one problem lie in one piece, as far as they fit
    index = {name: [row[place] for row, _ in shown] for place, name in enumerate(COLUMNS)}
    records = [record for _, record in shown]
    pieces = [records[start : start + PIECE] for start in range(0, len(records), PIECE)]
    return {"columns": index, "count": len(shown), "piece": PIECE, "rule": selection.rule}, pieces


def _decoder(run: Path) -> Decode | None:
    decode = tokenizer_of(run)
    if decode is None:
        return None
    remembered = lru_cache(maxsize=REMEMBERED)(decode)
    return lambda token_ids: remembered(tuple(token_ids))


def _attempts(line: Line, decode: Decode | None) -> list[tuple[list[Any], Record]]:
    plain = read_line(line)
    return list(_of_group(line, plain, decode)) if isinstance(plain["problem"], Mapping) else [_of_answer(line, plain)]


def _of_answer(line: Line, plain: Mapping[str, Any]) -> tuple[list[Any], Record]:
    """A line of a stage's `evaluation.jsonl`."""
    response = str(plain["response"])
    row = [line.kind, line.run, line.stage, None, line.problem, plain["verdict"], int(plain["tokens"]), None, None]
    record = {"answer": plain["answer"], "turns": [_said("user", str(plain["prompt"])), _said("assistant", response)]}
    return [*row, plain["finish_reason"], "", _preview(response)], record


def _of_group(line: Line, plain: Mapping[str, Any], decode: Decode | None) -> Iterator[tuple[list[Any], Record]]:
    group = group_from_dict(plain)
    step = plain.get("step")
    advantages = plain.get("advantages") or [None] * len(group.trajectories)
    for attempt, advantage in zip(group.trajectories, advantages, strict=True):
        row = [line.kind, line.run, line.stage, step, line.problem, attempt.status, attempt.num_sampled, rounded(attempt.reward)]
        context = "" if attempt.context == "direct" else attempt.context
        yield (
            [*row, rounded(advantage), attempt.finish_reason, context, _preview(attempt.response)],
            _record(group, attempt, step, decode),
        )


def _record(group: Group, attempt: Trajectory, step: int | None, decode: Decode | None) -> Record:
    detail = attempt.score.verdict.detail if attempt.score and attempt.score.verdict else ""
    parts = attempt.score.parts if attempt.score else {}
    facts: Record = {"answer": group.problem.answer, "turns": [_turn(turn, step) for turn in turns_of(attempt, decode)]}
    if detail:
        facts["detail"] = detail
    if len(parts) > 1:
        facts["parts"] = {name: rounded(value) for name, value in parts.items()}
    return facts | ({"control": True} if attempt.control else {})


def _turn(turn: Turn, step: int | None) -> Record:
    """A turn the model chose has its tokens: their texts in one string with the length of each, and what is known of each.

    `behind` counts the updates that the weights lacked which sampled a token: those made when it was trained on less its own.
    """
    if not turn.tokens:
        return _said(turn.role, turn.text)
    said = _said(turn.role, "".join(token.text for token in turn.tokens))
    said["lengths"] = [_units(token.text) for token in turn.tokens]
    if all(token.behavior is not None for token in turn.tokens):
        said["logprobs"] = [round(CENTINATS * (token.behavior or 0.0)) for token in turn.tokens]
    if step is not None and all(token.version is not None for token in turn.tokens):
        said["behind"] = [step - (token.version or 0) for token in turn.tokens]
    return said


def _said(role: str, text: str) -> Record:
    return {"role": role, "text": text}


def _units(text: str) -> int:
    """UTF-16 code units, in which a browser counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _preview(text: str) -> str:
    return " ".join(text.split())[:PREVIEW]
