"""A run as the report knows it, whatever state its folder is in: alive, finished, failed, stopped, empty, of another version."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rl_distill import __version__
from rl_distill.config import read_yaml
from rl_distill.recipe import BASE
from rl_distill.reporting.notes import readable
from rl_distill.reporting.sweep_folder import ending_of
from rl_distill.tracking import read_metrics
from rl_distill.training.status import run_state

LAST_WORDS = 300  # characters of what a failed run said


@dataclass(slots=True, kw_only=True)
class RunFacts:
    """
    label    no other run of the report has it
    state    alive, finished, failed, stopped, empty or unknown; `words` say it to a person
    recipe   the resolved recipe as plain data; {} where it cannot be read
    stages   of the recipe, base first
    results  `result.json` by finished stage
    metrics  lines of `metrics.jsonl`
    notes    what could not be read of it, and why
    """

    label: str
    path: Path
    state: str
    words: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[str, ...] = ()
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def version(self) -> str | None:
        """Of the package that wrote it."""
        return self.environment.get("rl_distill")

    def as_data(self) -> dict[str, Any]:
        """What the page says of it at the top."""
        return {
            **{name: getattr(self, name) for name in ("label", "state", "words", "version", "notes")},
            "path": str(self.path),
            "name": self.recipe.get("name"),
            "seed": self.recipe.get("seed"),
            "stages": list(self.stages),
            "steps": len(self.metrics),
        }


def read_facts(label: str, path: Path) -> RunFacts:
    """Read a run's folder; what cannot be read stands in its notes."""
    if not (path / "recipe.yaml").is_file():
        return RunFacts(label=label, path=path, state="empty", words="ended before it wrote its recipe")
    notes: list[str] = []
    state, words = readable(notes, "state", ("unknown", ""), _state, path, notes)
    facts = RunFacts(label=label, path=path, state=state, words=words, notes=notes)
    facts.recipe = readable(facts.notes, "recipe.yaml", {}, read_yaml, path / "recipe.yaml")
    facts.environment = readable(facts.notes, "environment.json", {}, _json, path / "environment.json")
    facts.stages = (BASE, *readable(facts.notes, "recipe.yaml", (), _stage_names, facts.recipe))
    files = {name: path / "stages" / name / "result.json" for name in facts.stages}
    found = {
        name: readable(facts.notes, f"result of stage {name}", None, _result, file)
        for name, file in files.items()
        if file.is_file()
    }
    facts.results = {name: result for name, result in found.items() if result is not None}
    if (path / "metrics.jsonl").is_file():
        rows = readable(facts.notes, "metrics.jsonl", [], read_metrics, path / "metrics.jsonl")
        facts.metrics = [row for row in rows if isinstance(row.get("stage"), str) and _is_number(row.get("step"))]
        if len(facts.metrics) < len(rows):
            facts.notes.append(f"metrics.jsonl: {len(rows) - len(facts.metrics)} lines name no stage and step; they are left out")
    if facts.version not in (None, __version__):
        facts.notes.append(f"written by rl_distill {facts.version}; this report is of {__version__}")
    if not facts.metrics and not facts.results:
        facts.notes.append("empty: no step was made and no stage is finished")
    return facts


def flat(plain: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of a tree with their values; stages of a recipe are called by their names."""
    if isinstance(plain, Mapping) and plain:
        for key, value in plain.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    elif isinstance(plain, list) and plain and all(isinstance(one, Mapping) for one in plain):
        for place, one in enumerate(plain):
            yield from flat(one, f"{path}.{one.get('name', place)}")
    else:
        yield path, plain


def _state(path: Path, notes: list[str]) -> tuple[str, str]:
    """Of a cell its sweep knows more than the run folder: a stop by an alarm was asked for, and no command continues it."""
    state, words = run_state(path)
    ending = ending_of(path)
    if ending is not None and state != "alive" and ending.state == "stopped":
        return "stopped", f"{ending.reason}; its sweep leaves it at that"
    if ending is not None and state != "alive" and ending.state == "failed":
        return "failed", f"failed: {ending.reason}"
    if state == "failed":
        return "failed", readable(notes, "failure.log", words, _last_words, path / "failure.log")
    return state, words


def _stage_names(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(stage["name"]) for stage in recipe.get("stages", ()))


def _result(path: Path) -> Mapping[str, Any]:
    """What all pages read of a stage's result has the type that they expect."""
    found = _json(path)
    evaluation = _mapping(found.get("evaluation") or {})
    numbers = {name: found.get(name) for name in ("step", "generated_tokens", "trained_tokens", "seconds")}
    numbers |= {name: evaluation.get(name) for name in ("accuracy", "low", "high")}
    for place, alarm in enumerate(found.get("alarms") or ()):
        numbers[f"alarms[{place}].step"] = _mapping(alarm)["step"]
        if not isinstance(alarm["alarm"], str):
            raise TypeError(f"alarms[{place}].alarm is no name")
    if wrong := [name for name, value in numbers.items() if value is not None and not _is_number(value)]:
        raise TypeError(f"{wrong[0]} is no number")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json(path: Path) -> Mapping[str, Any]:
    return _mapping(json.loads(path.read_text(encoding="utf-8")))


def _mapping(plain: Any) -> Mapping[str, Any]:
    if not isinstance(plain, Mapping):
        raise ValueError("it is no mapping")
    return plain


def _last_words(log: Path) -> str:
    """The last line of a traceback says what went wrong."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"failed: {lines[-1].strip()[:LAST_WORDS]}" if lines else "failed"
