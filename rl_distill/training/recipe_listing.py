"""What `rl-distill recipes` prints: the recipes there are, and every key of one with its value, default, unit and source."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rl_distill.config import keys, read_yaml
from rl_distill.errors import InputError
from rl_distill.recipe import Recipe, load_recipe
from rl_distill.training.student import kind_of_model


def recipe_folder() -> Path:
    """`experiments/` of the current folder, else the one beside the package in a checkout."""
    here = Path("experiments")
    return here if here.is_dir() else Path(__file__).resolve().parents[2] / "experiments"


def recipe_lines() -> Iterator[str]:
    """One line for each recipe: its path and the first line of its header comment."""
    folder = recipe_folder()
    for path in sorted(folder.rglob("*.yaml")):
        header = path.read_text(encoding="utf-8").splitlines()[:1]
        yield f"{path!s:<44} {header[0].removeprefix('#').strip() if header else ''}"
    yield ""
    yield "`rl-distill recipes NAME` lists every key of a recipe; `rl-distill recipes --schema` prints their JSON schema."


def key_lines(name: str) -> Iterator[str]:
    """Every key that a recipe with these choices could have, with what this one gives it."""
    path = find_recipe(name)
    load_recipe(path)
    tree = read_yaml(path)
    yield f"{path}: every key, with its default and what this recipe sets. A choice by name stands as key[name]; the keys of the"
    yield "choices that it does not make are in `rl-distill recipes --schema`."
    for entry in keys(Recipe):
        owner, choice, _ = entry["key"].rpartition("]")
        if choice and not _places(tree, owner + choice):
            continue
        given = _given(tree, entry["key"])
        unit = f" {entry['unit']}" if entry["unit"] else ""
        source = f" [{entry['source']}]" if entry["source"] else ""
        values = f"default {entry['default']}{unit}" + "".join(f"; {where} = {value}" for where, value in given)
        yield f"\n{entry['key']}  ({entry['type']})  {values}"
        yield textwrap.indent(textwrap.fill(f"{entry['about']}{source}", 110), "    ")


def find_recipe(name: str) -> Path:
    """A recipe by path, or by its name below `experiments/` with or without `.yaml`.

    Raises:
        InputError: there is none, or several have that name.
    """
    if Path(name).is_file():
        return Path(name)
    folder = recipe_folder()
    stem = name.removesuffix(".yaml")
    found = [path for path in folder.rglob("*.yaml") if str(path.relative_to(folder).with_suffix("")).endswith(stem)]
    exact = [path for path in found if stem in (path.stem, str(path.relative_to(folder).with_suffix("")))]
    if len(exact) != 1:
        problem = f"{name!r} names {len(exact)} recipes below {folder}" + "".join(f" {path}" for path in exact)
        raise InputError("recipe", problem, "`rl-distill recipes` lists them; give its path")
    return exact[0]


def _given(tree: Any, key: str) -> list[tuple[str, str]]:
    """What a recipe sets at a key such as `stages.source[rollout].group_size`: (path, value) of each place."""
    return [(path, str(value)) for path, value in _places(tree, key) if not isinstance(value, dict)]


def _places(tree: Any, key: str) -> list[tuple[str, Any]]:
    """Where a key stands in a recipe, and what stands there."""
    places: list[tuple[str, Any]] = [("", tree)]
    for part in key.split("."):
        name, _, tag = part.partition("[")
        tag = tag.removesuffix("]")
        found: list[tuple[str, Any]] = []
        for path, node in places:
            if not isinstance(node, dict) or name not in node:
                continue
            value = node[name]
            for index, member in enumerate(value if isinstance(value, list) else [value]):
                if tag and not (isinstance(member, dict) and tag in (member.get("name"), kind_of_model(member))):
                    continue
                label = member.get("name", index) if isinstance(member, dict) else index
                found.append((f"{path}.{name}.{label}" if isinstance(value, list) else f"{path}.{name}", member))
        places = found
    return [(path.lstrip("."), value) for path, value in places]
