"""What a stage owes to those who taught it before it began: the bill of curated data, or the traces that it read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rl_distill.analysis.run_records import Attempt, RunRecord, StageRecord
from rl_distill.errors import InputError
from rl_distill.learning.loss_term import MAIN
from rl_distill.recipe import BASE
from rl_distill.training.rollout_source import RolloutSourceConfig
from rl_distill.training.stages import Beside, Objective, Training
from rl_distill.training.student import SeededModel

CARD = "card.json"
FREE = "arithmetic"  # the problem set whose teacher is a program of this package
AS_READ = "attempts that the ledger has, prompts included, in the student's tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one data set took to make. None: not known.

    data      the curation's folder, or the name of the problem set
    counted   how the tokens were counted, in words
    attempts  those read, where nobody was billed: two stages that read the same ones owe them once
    """

    data: str
    counted: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    price: float | None = None
    attempts: frozenset[Attempt] = field(default_factory=frozenset)

    @property
    def tokens(self) -> int:
        """Prompts and completions."""
        if self.prompt_tokens is not None and self.completion_tokens is not None:
            return self.prompt_tokens + self.completion_tokens
        return sum(attempt.tokens for attempt in self.attempts)


def bills_of(run: RunRecord, stage: StageRecord) -> tuple[Bill, ...] | None:
    """One for each data set that the stage reads; () where it learns from nobody's text, None where the run does not tell."""
    training = _training(run, stage.name)
    found: list[Bill] = []
    for objective in training.objectives if training else ():
        bills = _bills(objective, stage)
        if bills is None:
            return None
        found += bills
    return merged(found)


def merged(bills: Sequence[Bill]) -> tuple[Bill, ...]:
    """Each data set once, with all that was read of it."""
    by_data: dict[str, Bill] = {}
    for bill in bills:
        before = by_data.setdefault(bill.data, bill)
        if before is not bill and bill.attempts:
            attempts = before.attempts | bill.attempts
            by_data[bill.data] = Bill(data=bill.data, counted=bill.counted, price=bill.price, attempts=attempts)
    return tuple(by_data.values())


def _training(run: RunRecord, name: str) -> Training | None:
    if name != BASE:
        return next(stage for stage in run.recipe.stages if stage.name == name)
    model = run.recipe.student.model
    return model.pretraining if isinstance(model, SeededModel) else None


def _bills(objective: Objective, stage: StageRecord) -> list[Bill] | None:
    source = objective.source
    sampled = isinstance(source, RolloutSourceConfig)
    if isinstance(source, RolloutSourceConfig) and source.dialogue is None:
        return []
    name, card = source.problems.name, _card(source.problems)
    if card is not None and card[1].get("generation"):
        return [_billed(*card)]
    read = stage.read.get(objective.name if isinstance(objective, Beside) else MAIN)
    if read is None:
        return None  # the base was made by another run, which kept the ledger
    text = frozenset(attempt for attempt in read if not (sampled and attempt.seeded))  # of dialogues the teacher's replies
    price = 0.0 if name == FREE else None
    return [Bill(data=str(card[0]) if card else name, counted=AS_READ, price=price, attempts=text)]


def _card(problems: Any) -> tuple[Path, Mapping[str, Any]] | None:
    """The card of the curation that published a problem set's file, if one did."""
    path = getattr(problems, "path", None)
    if not isinstance(path, str):
        return None
    card = Path(path).expanduser().resolve().parent / CARD
    if not card.is_file():
        return None
    try:
        return card.parent, json.loads(card.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(str(card), "is no card of a curation", "publish that data again with rl-distill curate") from None


def _billed(folder: Path, card: Mapping[str, Any]) -> Bill:
    """Of the attempts and the probes together."""
    parts = [card["generation"], *(card.get("probes") or {}).get("bills", {}).values()]
    return Bill(
        data=str(folder),
        counted="by the curation, as its teacher told",
        prompt_tokens=round(sum(part["prompt_tokens"] for part in parts)),
        completion_tokens=round(sum(part["completion_tokens"] for part in parts)),
        price=sum(part["price"] for part in parts),
    )
