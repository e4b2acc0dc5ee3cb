"""The dialogues that a run recorded, read from its folder alone."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rl_distill.analysis.dialogue_bonus import Terms, terms_of
from rl_distill.errors import InputError
from rl_distill.records import group_from_dict
from rl_distill.trajectory import Group

ROLLOUTS = Path("trajectories") / "rollouts.jsonl"
IN_A_DIALOGUE = re.compile(rb'"dialogue": \d')  # a quote inside a recorded text is escaped, so no text looks like this


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditedGroup:
    """A recorded group with the credit of each of its attempts; None of one that was not trained on."""

    group: Group
    advantages: tuple[float | None, ...]
    beside: str | None = None  # the objective beside the stage's own that it belongs to

    def __post_init__(self) -> None:
        if len(self.advantages) != len(self.group.trajectories):
            raise ValueError(f"advantages: has {len(self.advantages)} entries for {len(self.group.trajectories)} attempts")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStep:
    """The dialogues of one step of a stage.

    steps  of this stage, all that have recorded dialogues
    terms  what the stage pays for, by objective; None is its own
    """

    stage: str
    step: int
    steps: tuple[int, ...]
    groups: tuple[CreditedGroup, ...]
    terms: Mapping[str | None, Terms]


def has_dialogues(run: Path) -> bool:
    """Whether a run has recorded any."""
    return next(_lines(run), None) is not None


def recorded_step(run: Path, stage: str | None = None, step: int | None = None) -> RecordedStep:
    """The dialogues of one step.

    Args:
        stage: none is the last one that recorded dialogues.
        step: as `metrics.jsonl` counts them in a stage; none is the last one recorded.

    Raises:
        InputError: there is no run, no dialogue in it, or none of that stage or step.
    """
    if not (run / "recipe.yaml").is_file():
        raise InputError("RUN", f"{str(run)!r} holds no run", "give the folder of a run (its run_dir)")
    found: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    for line in _lines(run):
        steps = found.setdefault(line["stage"], {})
        if step is None and line["step"] not in steps:
            steps.update({earlier: [] for earlier in steps})  # only the last is shown: those of a long run would fill the memory
        kept = steps.setdefault(line["step"], [])
        if step in (None, line["step"]):
            kept.append(line)
    if not found:
        remedy = (
            "its recipe needs source.dialogue and tracking.trajectories_every above 0, and some dialogue has to fit the context"
        )
        raise InputError("RUN", f"{str(run)!r} has recorded no dialogues", remedy)
    stage = list(found)[-1] if stage is None else stage
    if stage not in found:
        raise InputError("--stage", f"{stage!r} has recorded no dialogues", f"give {' or '.join(map(repr, found))}")
    shown = max(found[stage]) if step is None else step
    if shown not in found[stage]:
        recorded = ", ".join(map(str, sorted(found[stage])))
        raise InputError("--step", f"is {step}, and stage {stage!r} recorded dialogues in steps {recorded}", "give one of those")
    return RecordedStep(
        stage=stage,
        step=shown,
        steps=tuple(sorted(found[stage])),
        groups=tuple(map(_credited, found[stage][shown])),
        terms=_terms(run, stage),
    )


def tokenizer_of(run: Path) -> Callable[[Sequence[int]], str] | None:
    """Token ids to text as the run's student does it, special tokens included; None if no tokenizer lies there yet."""
    from tokenizers import Tokenizer

    for folder in (run / "final", *sorted((run / "stages").glob("*/student"))):
        if (folder / "tokenizer.json").is_file():
            try:
                tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            except Exception as error:  # the library knows no other class
                raise ValueError(f"{folder / 'tokenizer.json'} is no tokenizer ({error})") from None
            return lambda token_ids: str(tokenizer.decode(list(token_ids), skip_special_tokens=False))
    return None


def _lines(run: Path) -> Iterator[dict[str, Any]]:
    """Records of groups with dialogues. The last line of a run at work may be unfinished, and is none."""
    path = run / ROLLOUTS
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") or not IN_A_DIALOGUE.search(line):
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}:{number}", f"is no record ({error})", "restore that file") from None


def _credited(line: Mapping[str, Any]) -> CreditedGroup:
    try:
        group = group_from_dict(line)
        return CreditedGroup(group=group, advantages=tuple(line["advantages"]), beside=line.get("beside"))
    except (KeyError, TypeError, ValueError) as error:
        problem = f"holds no group with its credit ({type(error).__name__}: {error})"
        raise InputError(str(ROLLOUTS), problem, "restore that file, or use the version that wrote it") from None


def _terms(run: Path, stage: str) -> dict[str | None, Terms]:
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    for one in recipe["stages"]:
        if one["name"] == stage:
            beside = {other["name"]: terms_of(other["algorithm"]) for other in one.get("beside") or ()}
            return {None: terms_of(one["algorithm"]), **beside}
    return {None: Terms()}  # the pretraining of the base
