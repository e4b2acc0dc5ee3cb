"""The rubric of behaviors: a versioned file, what a judge is told from it, and the keywords that stand in for a judge."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from rl_distill.analysis.token_classes import Matcher
from rl_distill.config import config, dump, parse, read_yaml, setting

PACKAGED = Path(__file__).with_name("behaviors.yaml")
_SLOTS = ("rubric", "problem", "part")
_SLOT = re.compile(r"\{(" + "|".join(_SLOTS) + r")\}")


@config
class Behavior:
    """A way of thinking that shows in a text."""

    id: str = setting(about="short name, in reports and in the judge's answers", pattern=r"^[a-z0-9_]+$")
    name: str = setting(about="as people call it")
    definition: str = setting(about="when a place counts")
    examples: tuple[str, ...] = setting(about="places that count", min_length=1)
    counter_example: str = setting(about="a place that does not, and why")
    keywords: tuple[str, ...] = setting(about="words and phrases that hint at it", min_length=1)

    @property
    def told(self) -> str:
        """As a judge reads it."""
        examples = "\n".join(f"  counts: {one}" for one in self.examples)
        return f"- {self.id} ({self.name}): {self.definition}\n{examples}\n  does not count: {self.counter_example}"


@config
class Rubric:
    """A file of behaviors and how a judge is asked about them."""

    version: int = setting(about="of the wording; part of every report", ge=1)
    prompt: str = setting(about="what the judge is told; holds {rubric}, {problem} and {part}")
    behaviors: tuple[Behavior, ...] = setting(about="what is looked for", min_length=1)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if missing := [slot for slot in _SLOTS if f"{{{slot}}}" not in self.prompt]:
            raise ValueError(f"prompt does not hold {{{missing[0]}}}; write it where that belongs")
        if twice := next((one for one in self.ids if self.ids.count(one) > 1), None):
            raise ValueError(f"behaviors have the id {twice!r} twice; give each an id of its own")
        return self

    @property
    def ids(self) -> list[str]:
        return [behavior.id for behavior in self.behaviors]

    @property
    def digest(self) -> str:
        """SHA-256 of all of it; every report gives it."""
        return hashlib.sha256(json.dumps(dump(self), sort_keys=True).encode()).hexdigest()

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of a judge's answer."""
        fields = {"behavior": {"enum": self.ids}, "quote": {"type": "string"}, "reason": {"type": "string"}}
        span = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
        spans = {"spans": {"type": "array", "items": span}}
        return {"type": "object", "properties": spans, "required": ["spans"], "additionalProperties": False}

    def question(self, problem: str, part: str) -> str:
        """What a judge is told about a part of a response. What is filled in is never searched for slots itself."""
        values = {"rubric": "\n".join(one.told for one in self.behaviors), "problem": problem, "part": part}
        return _SLOT.sub(lambda slot: values[slot[1]], self.prompt)

    def keywords(self) -> Matcher:
        """Finds the keywords; a place counts for one behavior only, the one with the longest phrase there."""
        return Matcher((behavior.id, text) for behavior in self.behaviors for text in behavior.keywords)


def load_rubric(path: str | Path | None = None) -> Rubric:
    """The rubric of a file; the package's own if there is none.

    Raises:
        InputError: naming the key of the file and what is wrong with it.
    """
    return parse(Rubric, read_yaml(PACKAGED if path is None else Path(path).expanduser()))
