"""Tables of the keys of configuration classes: what a recipe may say, from the classes that read it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from rl_distill.algorithms import ALGORITHMS
from rl_distill.config import keys
from rl_distill.config.annotations import configs_in, tag_of
from rl_distill.recipe import Recipe

# The pages of the recipe reference, by the modules whose classes stand on them; an algorithm's class has a page of its own.
RECIPE_PARTS: dict[str, tuple[str, ...]] = {
    "recipe": ("rl_distill.recipe",),
    "student": ("rl_distill.training.student", "rl_distill.models", "rl_distill.text"),
    "stages": ("rl_distill.training.stages",),
    "sources": ("rl_distill.training.dataset_source", "rl_distill.training.rollout_source", "rl_distill.rollout.dialogue",
                "rl_distill.rollout.engine"),
    "learner": ("rl_distill.learning",),
    "problems": ("rl_distill.problems",),
    "rewards": ("rl_distill.rewards",),
    "evaluation": ("rl_distill.evaluation",),
    "alarms": ("rl_distill.training.alarms",),
    "tracking": ("rl_distill.tracking", "rl_distill.training.weight_sync"),
    "engine": ("rl_distill.rollout.hf_engine", "rl_distill.rollout.vllm_config"),
    "cluster": ("rl_distill.cluster",),
}  # fmt: skip
_HEADER = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"


def classes_below(root: type) -> list[type]:
    """Every configuration class that a tree of this class can hold, the root first."""
    found: dict[type, None] = {}

    def visit(cls: type) -> None:
        if cls not in found:
            found[cls] = None
            for field in fields(cls):  # type: ignore[arg-type]
                for inner in configs_in(cls.__pydantic_fields__[field.name].annotation):  # type: ignore[attr-defined]
                    visit(inner)

    visit(root)
    return list(found)


def part_of(cls: type) -> str:
    """The part of the recipe reference in which a class stands; the longest module wins."""
    fitting = [
        (len(module), part)
        for part, modules in RECIPE_PARTS.items()
        for module in modules
        if cls.__module__ == module or cls.__module__.startswith(f"{module}.")
    ]
    return max(fitting)[1]


def part_sections(part: str) -> str:
    classes = [cls for cls in classes_below(Recipe) if cls not in ALGORITHMS.values() and part_of(cls) == part]
    return sections(classes)


def sections(classes: Sequence[type]) -> str:
    """A heading, a sentence and a table for each class."""
    return "\n\n".join(f"### {_title(cls)}\n\n{_summary(cls)}\n\n{settings_table(cls)}" for cls in classes)


def settings_table(cls: type) -> str:
    """The keys of one class: those of classes inside it stand in sections of their own."""
    rows = []
    for entry in keys(cls):
        if "." in entry["key"]:
            continue
        annotation = cls.__pydantic_fields__[entry["key"]].annotation  # type: ignore[attr-defined]
        about = _escaped(entry["about"]) + (f" *({_escaped(entry['source'])})*" if entry["source"] else "")
        default = f"{_default(entry['default'])}{' ' + entry['unit'] if entry['unit'] and entry['default'] != 'none' else ''}"
        rows.append(f"| `{entry['key']}` | {_type(annotation, entry['type'])} | {default} | {about} |")
    return _HEADER + "\n".join(rows)


def _title(cls: type) -> str:
    tag = tag_of(cls)
    return f"`{tag}`" if tag else f"`{cls.__name__}`"


def _summary(cls: type) -> str:
    paragraph = (cls.__doc__ or "").strip().split("\n\n")[0]
    return _escaped(re.sub(r"\s+", " ", paragraph))


def _type(annotation: Any, name: str) -> str:
    inner = [cls for cls in configs_in(annotation) if cls not in ALGORITHMS.values()]
    if any(cls in ALGORITHMS.values() for cls in configs_in(annotation)):
        return "an algorithm"
    if inner:
        return ", ".join(f"`{tag_of(cls) or cls.__name__}`" for cls in inner)
    choices = re.findall(r"'([^']+)'", name) if "Literal" in name else []
    shown = [*choices, *(["none"] if choices and "None" in name else [])]
    return " ".join(f"`{choice}`" for choice in shown) if shown else f"`{name.replace(' | ', ' or ').replace('None', 'none')}`"


def _default(text: str) -> str:
    if text in ("required", "none"):
        return text
    return "see there" if text.startswith("{") and len(text) > 30 else f"`{text}`"


def _escaped(text: str) -> str:
    """Plain words: no emphasis, no tags, no end of a cell."""
    outside = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([|*_<>\[\]$])", r"\\\1", part) for part in outside)


def documented(root: type) -> Iterator[tuple[type, str]]:
    """Every key that has to stand somewhere: the class and its name."""
    for cls in classes_below(root):
        yield from ((cls, field.name) for field in fields(cls))  # type: ignore[arg-type]
