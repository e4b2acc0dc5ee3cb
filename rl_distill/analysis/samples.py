"""Recorded responses, wherever they lie: a stage of a run, an evaluation, or a file of groups."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from rl_distill.analysis.words import count_words
from rl_distill.config import parse, read_yaml
from rl_distill.errors import InputError
from rl_distill.records import MALFORMED, group_from_dict, misfit
from rl_distill.text import PromptFormat
from rl_distill.trajectory import Message, Status, Trajectory

Unit = Literal["tokens", "words"]
ROW = ("problem", "prompt", "response", "verdict", "finish_reason", "tokens")
FORMATS = (
    "give JSON lines of groups (rl_distill.records.group_to_dict), "
    f"or of rows with {', '.join(ROW)}, as in a run's evaluation.jsonl"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One response as it was recorded.

    status      None where nobody has judged it
    finished    False where it was cut off, or failed
    num_tokens  of the response in its model's tokens; None where only text was kept
    messages    the whole conversation; () where only question and response were kept
    token_ids   and `sampled`: as in a trajectory; () where only text was kept
    """

    problem_id: str
    text: str
    status: Status | None
    finished: bool
    num_tokens: int | None
    messages: tuple[Message, ...] = ()
    token_ids: tuple[int, ...] = ()
    sampled: tuple[bool, ...] = ()


@dataclass(frozen=True)
class SampleSet:
    """What one model answered to a set of problems.

    name     as the user gave it
    files    that it was read from, with the SHA-256 of each
    prompts  by problem id
    """

    name: str
    files: Mapping[str, str]
    prompts: Mapping[str, str]
    responses: tuple[Recorded, ...]

    @cached_property
    def unit(self) -> Unit:
        """What lengths are counted in: tokens, unless a response has none recorded."""
        return "words" if any(one.num_tokens is None for one in self.responses) else "tokens"


def read_samples(source: str) -> SampleSet:
    """Read RUN:STAGE, FOLDER:BENCHMARK, a JSON-lines file, or a folder of such files.

    Lines are groups, or the rows of a run's `evaluation.jsonl`. Answers to compare with (`control`) are left out. Problems
    of rollouts are told apart by stage, since stages may make probes of their own.

    Raises:
        InputError: nothing is there, a line is neither, or two problems share an id.
    """
    files: dict[str, str] = {}
    prompts: dict[str, str] = {}
    responses: list[Recorded] = []
    for path in _files(source):
        files[str(path)] = _sha256(path)
        for problem_id, prompt, found in _lines(path):
            if prompts.setdefault(problem_id, prompt) != prompt:
                problem = f"{source!r} puts two different questions under the id {problem_id!r}"
                raise InputError("SAMPLES", problem, "give one benchmark at a time, as FOLDER:BENCHMARK")
            responses += found
    if not responses:
        raise InputError("SAMPLES", f"{source!r} holds no responses", "give a file with graded attempts")
    return SampleSet(source, files, prompts, tuple(responses))


def check_same_problems(first: SampleSet, second: SampleSet) -> None:
    """See that two sets answer the same questions.

    Raises:
        InputError: a problem is missing in one of them, or is worded otherwise; it is named.
    """
    for here, there in ((first, second), (second, first)):
        missing = [problem_id for problem_id in here.prompts if problem_id not in there.prompts]
        if missing:
            problem = f"{there.name!r} lacks {len(missing)} problems of {here.name!r}, such as {missing[0]!r}"
            raise InputError("SAMPLES2", problem, "compare answers to the same problems")
    changed = [problem_id for problem_id, prompt in first.prompts.items() if second.prompts[problem_id] != prompt]
    if changed:
        problem = f"{len(changed)} problems are worded otherwise than in {first.name!r}, such as {changed[0]!r}"
        raise InputError("SAMPLES2", problem, "compare answers to the same prompts")


def common_unit(sets: Sequence[SampleSet]) -> Unit:
    """Tokens if all sets have them."""
    return "words" if any(one.unit == "words" for one in sets) else "tokens"


def length(response: Recorded, unit: Unit) -> int:
    """Of a response, in tokens or in words."""
    if unit == "words":
        return count_words(response.text)
    assert response.num_tokens is not None, "asked for in words then"
    return response.num_tokens


def _files(source: str) -> list[Path]:
    """The files that a user's word for samples means."""
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return _in_folder(path)
    folder, colon, part = source.rpartition(":")
    if colon and Path(folder).expanduser().is_dir():
        root = Path(folder).expanduser()
        places = [root / "stages" / part / "evaluation.jsonl", root / "samples" / f"{part}.jsonl"]
        found = [place for place in places if place.is_file()]
        if found:
            return found[:1]
        known = [one.parent.name for one in _stages(root)] + [one.stem for one in sorted(root.glob("samples/*.jsonl"))]
        remedy = f"give {' or '.join(known)}" if known else "give a run or an evaluation"
        raise InputError("SAMPLES", f"{folder!r} has no stage or benchmark {part!r} with recorded answers", remedy)
    raise InputError("SAMPLES", f"there is no {source!r}", "give RUN:STAGE, a file, or a folder of an evaluation")


def _in_folder(folder: Path) -> list[Path]:
    stages = _stages(folder)
    if len(stages) > 1:
        names = ", ".join(stage.parent.name for stage in stages)
        raise InputError(
            "SAMPLES", f"{str(folder)!r} has several stages ({names})", f"give one, as {folder}:{stages[-1].parent.name}"
        )
    found = stages or sorted(folder.glob("samples/*.jsonl")) or sorted(folder.glob("*.jsonl"))
    if not found:
        raise InputError("SAMPLES", f"{str(folder)!r} holds no recorded answers", "give RUN:STAGE, a file, or an evaluation")
    return found


def _stages(run: Path) -> list[Path]:
    return sorted(run.glob("stages/*/evaluation.jsonl"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines(path: Path) -> Iterator[tuple[str, str, list[Recorded]]]:
    """Problem id, prompt and responses of each line."""
    put = _prompt_format(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                plain = json.loads(line)
                yield _checked(_row(plain, put) if _is_row(plain) else _group(plain))
            except MALFORMED as error:
                problem = f"holds no graded attempts ({_misfit(line, error)})"
                raise InputError(f"{path}:{number}", problem, FORMATS) from None


def _is_row(plain: Any) -> bool:
    """Whether it is meant as a row of `evaluation.jsonl`, where the problem is an id."""
    return isinstance(plain, Mapping) and not isinstance(plain.get("problem"), Mapping) and "trajectories" not in plain


def _misfit(line: bytes, error: Exception) -> str:
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError):
        return misfit(line, error)
    if not _is_row(plain):
        return misfit(line, error)
    lacking = [key for key in ROW if key not in plain]
    if lacking:
        return f"{lacking[0]!r} is missing"
    return str(error) if type(error) is ValueError else "a value is not of its kind"


def _checked(found: tuple[str, str, list[Recorded]]) -> tuple[str, str, list[Recorded]]:
    """What a later step would stumble over without a word about the line.

    Raises:
        ValueError: saying what.
    """
    problem_id, prompt, responses = found
    if not isinstance(problem_id, str) or not isinstance(prompt, str):
        raise ValueError("id and prompt of the problem are not both texts")
    for one in responses:
        if not isinstance(one.text, str):
            raise ValueError("a response is no text")
        if one.status not in (None, *get_args(Status)):
            raise ValueError(f"a verdict is {one.status!r}, not one of {', '.join(get_args(Status))}")
    return found


def _group(plain: Mapping[str, Any]) -> tuple[str, str, list[Recorded]]:
    group = group_from_dict(plain)
    problem_id = f"{plain['stage']}/{group.problem.id}" if "stage" in plain else group.problem.id
    return problem_id, group.problem.prompt, [_recorded(problem_id, one) for one in group.trajectories if not one.control]


def _recorded(problem_id: str, attempt: Trajectory) -> Recorded:
    return Recorded(
        problem_id=problem_id,
        text=attempt.response,
        status=attempt.status,
        finished=attempt.finish_reason == "stop",
        num_tokens=len(attempt.response_ids) if attempt.token_ids else None,
        messages=attempt.messages,
        token_ids=attempt.token_ids,
        sampled=attempt.sampled,
    )


def _prompt_format(path: Path) -> PromptFormat | None:
    """How the run that a file lies in put its problems; None where it lies in none."""
    for folder in path.absolute().parents:
        if (folder / "recipe.yaml").is_file():
            return parse(PromptFormat, read_yaml(folder / "recipe.yaml").get("student", {}).get("prompt") or {})
    return None


def _row(plain: Mapping[str, Any], put: PromptFormat | None) -> tuple[str, str, list[Recorded]]:
    """A line of a run's `evaluation.jsonl`: one answer, its text and its length."""
    prompt, response = plain["prompt"], plain["response"]
    answer = Recorded(
        problem_id=str(plain["problem"]),
        text=response,
        status=plain["verdict"],
        finished=plain["finish_reason"] == "stop",
        num_tokens=int(plain["tokens"]),
        messages=() if put is None or not isinstance(prompt, str) else (*put.messages(prompt), Message("assistant", response)),
    )
    return answer.problem_id, prompt, [answer]
