"""The rules by which a teacher makes probes: a versioned file of templates that can be copied and changed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from pydantic import model_validator

from rl_distill.config import config, parse, read_yaml, setting
from rl_distill.errors import InputError
from rl_distill.probes import AnswerKind

PACKAGED = Path(__file__).with_name("probe_rules.yaml")
_SLOTS = ("question", "answer", "solution", "task", "form")
_SLOT = re.compile(r"\{(" + "|".join(_SLOTS) + r")\}")


@config
class ProbeRule:
    """One way of asking about a solved problem."""

    id: str = setting(about="short name, kept with every probe that it makes", pattern=r"^[A-Za-z0-9_-]+$")
    family: str = setting(about="the kind of question, in words")
    asks: str = setting(about="what the student has to do")
    answer_kind: AnswerKind = setting(about="closed: one short answer that a rule can check; open: reasons")
    prompt: str = setting(about="what the teacher is told to write")


@config
class ProbeRules:
    """A file of rules."""

    version: int = setting(about="of the rules' wording; part of what probes depend on", ge=1)
    frame: str = setting(about="the prompt around a rule's own; holds {question}, {answer}, {solution}, {task} and {form}")
    forms: Mapping[AnswerKind, str] = setting(about="what `closed` and `open` probes look like, for {form}")
    rules: tuple[ProbeRule, ...] = setting(about="one probe is made by each", min_length=1)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if missing := [slot for slot in _SLOTS if f"{{{slot}}}" not in self.frame]:
            raise ValueError(f"frame does not hold {{{missing[0]}}}; write it where that belongs")
        ids = [rule.id for rule in self.rules]
        if twice := next((one for one in ids if ids.count(one) > 1), None):
            raise ValueError(f"rules have the id {twice!r} twice; give each an id of its own")
        if kind := next((rule.answer_kind for rule in self.rules if rule.answer_kind not in self.forms), None):
            raise ValueError(f"forms do not say what a probe of kind {kind!r} looks like; add it")
        return self

    def only(self, ids: Sequence[str]) -> Self:
        """With the rules of these ids, in the file's order; with all if there are no ids.

        Raises:
            InputError: an id that no rule has.
        """
        known = [rule.id for rule in self.rules]
        if unknown := [one for one in ids if one not in known]:
            raise InputError("probes.use", f"no rule has the id {unknown[0]!r}", f"choose from {', '.join(known)}")
        return replace(self, rules=tuple(rule for rule in self.rules if not ids or rule.id in ids))

    def prompt(self, rule: ProbeRule, *, question: str, answer: str, solution: str) -> str:
        """What the teacher is told, for one rule and one problem. What is filled in is never searched for slots itself."""
        values = {"question": question, "answer": answer, "solution": solution, "task": rule.prompt}
        values["form"] = self.forms[rule.answer_kind]
        return _SLOT.sub(lambda slot: values[slot[1]].strip(), self.frame)


def load_rules(path: str | None) -> ProbeRules:
    """The rules of a file; of the package's own if there is none.

    Raises:
        InputError: naming the key of the file and what is wrong with it.
    """
    if path is not None and not Path(path).expanduser().is_file():
        raise InputError(
            "probes.rules", f"there is no file {path!r}", "give a YAML file of rules, or drop it for the package's ten"
        )
    return parse(ProbeRules, read_yaml(PACKAGED if path is None else Path(path).expanduser()))
