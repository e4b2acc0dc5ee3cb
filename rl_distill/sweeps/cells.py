"""From a sweep's file to its cells: each a whole recipe, checked before the first one begins."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rl_distill.config import dump, overridden, parse, read_yaml
from rl_distill.errors import InputError
from rl_distill.recipe import BASE, Recipe
from rl_distill.sweeps.lineage import deciding, reduced
from rl_distill.sweeps.naming import cut, short_keys, value_name
from rl_distill.sweeps.ray_cells import check_cluster
from rl_distill.sweeps.settings import Arm, Sweep, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A variant with one seed.

    variant  its name, which all its seeds share
    values   of the keys in which variants differ
    recipe   of its own stages only, with its run folder
    outcome  the stage that is compared
    """

    variant: str
    seed: int
    values: Values
    recipe: Recipe
    outcome: str

    @property
    def name(self) -> str:
        return f"{self.variant}-{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """
    cells     variant by variant, each with its seeds
    same      variants that are left out, by name, with the one that ends alike
    baseline  the variant that others are compared with
    """

    cells: tuple[Cell, ...]
    same: Mapping[str, str]
    notes: tuple[str, ...]
    baseline: str | None

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(cell.variant for cell in self.cells))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    name: str
    values: Values
    arm: Arm | None


def cells_of(sweep: Sweep, path: Path, draws: Sequence[Values] = ()) -> Cells:
    """
    Args:
        path: of the sweep's file.
        draws: what was drawn for `random`.

    Raises:
        InputError: a cell's recipe is wrong, two cells have one name, or there is no such baseline.
    """
    variants = list(_variants(sweep, draws))
    kept: list[Cell] = []
    recipes: dict[str, _Variant] = {}
    same: dict[str, str] = {}
    for variant in variants:
        seeded = [_cell(sweep, path, variant, seed) for seed in sweep.seeds]
        contents = [json.dumps(deciding(cell.recipe), sort_keys=True) for cell in seeded]
        _check_seeds(sweep, seeded, contents)
        twin = recipes.setdefault("".join(contents), variant)
        if twin is variant:
            kept += seeded
        else:
            same[variant.name] = twin.name
    notes = tuple(_left_out({variant.name: variant for variant in variants}, same))
    return Cells(cells=tuple(kept), same=same, notes=notes, baseline=_baseline(sweep, variants, same))


def _check_seeds(sweep: Sweep, seeded: Sequence[Cell], contents: Sequence[str]) -> None:
    """Seeds that change nothing would be counted as so many runs, all alike."""
    first: dict[str, Cell] = {}
    for cell, content in zip(seeded, contents, strict=True):
        other = first.setdefault(content, cell)
        if other is not cell:
            problem = f"{', '.join(sweep.seed_keys)} change nothing on the way to {cell.outcome!r} of cell {cell.variant!r}"
            remedy = "name `seed` there too, or what else draws on that way"
            raise InputError("seed_keys", f"{problem}: seeds {other.seed} and {cell.seed} make one and the same run", remedy)


def _left_out(variants: Mapping[str, _Variant], same: Mapping[str, str]) -> Iterator[str]:
    """A line for each reason to leave cells out."""
    reasons: dict[str, list[str]] = {}
    for name, twin in same.items():
        reason = _why_alike(variants[name], variants[twin])
        reasons.setdefault(reason, []).append(name)
    for reason, (name, *more) in reasons.items():
        others = f", and {len(more)} more have that of others" if more else ""
        left = "they are left out" if more else "it is left out"
        yield f"note: cell {name!r} has the outcome of {same[name]!r}{others}, for {reason}: {left}"


def _why_alike(one: _Variant, twin: _Variant) -> str:
    differ = [key for key, value in one.values.items() if twin.values.get(key) != value]
    if differ:
        return f"{', '.join(differ)} changes nothing there"
    return "their arms change nothing" if one.arm != twin.arm else "the same values stand there twice"


def _variants(sweep: Sweep, draws: Sequence[Values]) -> Iterator[_Variant]:
    """Every arm with every point of the grid and every draw."""
    shorts = short_keys([*sweep.grid, *(sweep.random.keys if sweep.random else ())])
    points = [dict(zip(sweep.grid, point, strict=True)) for point in product(*sweep.grid.values())]
    seen: set[str] = set()
    for arm, point, draw in product(sweep.arms or (None,), points, draws or ({},)):
        values = {**point, **draw}
        parts = [arm.name] if arm else []
        parts += [f"{shorts[key]}={value_name(value)}" for key, value in values.items()]
        name = cut(",".join(parts)) or "recipe"
        if name in seen:
            name = next(f"{name}.{number}" for number in range(2, len(seen) + 3) if f"{name}.{number}" not in seen)
        seen.add(name)
        yield _Variant(name=name, values=values, arm=arm)


def _cell(sweep: Sweep, path: Path, variant: _Variant, seed: int) -> Cell:
    stops = {f"alarms.{alarm}.action": "stop" for alarm in sweep.stop_on}
    arm = variant.arm.set if variant.arm else {}
    layers = (sweep.set, arm, variant.values, dict.fromkeys(sweep.seed_keys, seed), stops)
    # One after the other, not merged: a later layer may hold a key of which an earlier one holds a part.
    changes = [change for layer in layers for change in _written(layer)]
    source = path.parent / sweep.recipe
    if not source.is_file():
        raise InputError("recipe", f"there is no file {str(source)!r}", "give its path from the folder of the sweep's file")
    name = f"{variant.name}-{seed}"
    try:
        whole = parse(Recipe, overridden(read_yaml(source), changes))
        outcome = _outcome(sweep, variant, whole)
        budget = sweep.budget.overrides(outcome) if sweep.budget else {}
        tree = reduced(parse(Recipe, overridden(dump(whole), _written(budget))), outcome)
        tree |= {"name": sweep.name, "run_dir": str(sweep.path / "cells" / name)}
        recipe = parse(Recipe, _grouped(tree, variant.name, seed))
        check_cluster(recipe, sweep.cpus)
    except InputError as error:
        raise InputError(f"cell {name!r}: {error.field}", error.problem, error.remedy) from None
    if recipe.evaluation is None:
        raise InputError("recipe", f"{str(source)!r} measures nothing that could be compared", "give it `evaluation`")
    return Cell(variant=variant.name, seed=seed, values=variant.values, recipe=recipe, outcome=outcome)


def _written(changes: Values) -> list[str]:
    """As overrides, whose values are read as YAML: JSON is YAML."""
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]


def _outcome(sweep: Sweep, variant: _Variant, recipe: Recipe) -> str:
    asked = (variant.arm.outcome if variant.arm else None) or sweep.outcome
    names = [stage.name for stage in recipe.stages]
    if asked is not None and asked not in names:
        raise InputError("outcome", f"{asked!r} is no stage of the recipe", f"choose one of {', '.join(names)}")
    return asked or names[-1]


def _grouped(tree: dict[str, Any], variant: str, seed: int) -> dict[str, Any]:
    """In Weights & Biases the cells of a sweep are a group, and each is found by its variant and its seed."""
    tracking = tree["tracking"]
    if tracking["wandb"] is None:
        return tree
    labels = {"group": tree["name"], "tags": [*tracking["wandb"]["tags"], variant[:64], f"seed-{seed}"]}
    return tree | {"tracking": tracking | {"wandb": tracking["wandb"] | labels}}


def _baseline(sweep: Sweep, variants: Sequence[_Variant], same: Mapping[str, str]) -> str | None:
    asked = sweep.baseline
    if asked is None:
        return None
    names = [variant.name for variant in variants]
    if isinstance(asked, str):
        found = [name for name in names if name == asked]
    else:
        missing = object()
        found = [one.name for one in variants if all(one.values.get(key, missing) == value for key, value in asked.items())]
    if len({same.get(name, name) for name in found}) != 1:
        shown = repr(asked) if isinstance(asked, str) else ", ".join(f"{key}={value_name(value)}" for key, value in asked.items())
        problem = f"{shown} fits {len(found)} cells" if found else f"{shown} is no cell"
        raise InputError("baseline", problem, f"choose one of {', '.join(names)}")
    return same.get(found[0], found[0])


def stage_names(cell: Cell) -> list[str]:
    """Base first."""
    return [BASE, *(stage.name for stage in cell.recipe.stages)]
