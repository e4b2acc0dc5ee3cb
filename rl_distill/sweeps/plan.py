"""Which stages cells have in common, and in which folder each cell leaves what."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rl_distill.recipe import BASE
from rl_distill.sweeps.accounts import Account, read_account
from rl_distill.sweeps.cells import Cell, Cells, stage_names
from rl_distill.training.shared_stages import made_under, stage_keys
from rl_distill.training.student import SeededModel, cache_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """
    keys     of its stages, base first
    shared   entries of the store, for the stages that other cells have too
    cache    folder of its pretrained base student; None where it has none
    account  file that says how it ended
    log      takes what its process prints
    """

    cell: Cell
    keys: Mapping[str, str]
    shared: tuple[Path, ...]
    cache: Path | None
    account: Path
    order: Path
    log: Path

    @property
    def folder(self) -> Path:
        return self.cell.recipe.folder

    @property
    def made(self) -> str:
        """What its outcome is a function of: recipe, data and code, as they are now."""
        return self.keys[self.cell.outcome]

    @property
    def makes(self) -> tuple[Path, ...]:
        """Folders that it makes where they are not there: those with the same ones wait for it, and no others."""
        base_is_there = any(folder.is_dir() for folder in (self.folder / "stages" / BASE, *self._entry(BASE)))
        return (*(() if base_is_there or self.cache is None else (self.cache,)), *self._left())

    def _left(self) -> Iterator[Path]:
        """What it leaves in the store; nothing from the first stage on that other code or data has begun here."""
        for name, key in self.keys.items():
            begun = (self.folder / "stages" / name).is_dir() or any((self.folder / "checkpoints" / name).glob("step-*"))
            if begun and made_under(self.folder, name) != key:
                return
            yield from self._entry(name)

    def _entry(self, name: str) -> list[Path]:
        return [entry for entry in self.shared if entry.name == self.keys[name]]

    def ended(self) -> Account:
        found = read_account(self.account, self.cell.recipe)
        gone = found.state == "done" and not (self.folder / "summary.json").is_file()
        return Account(state="unfinished", reason="its run folder is gone") if gone else found


def plan(folder: Path, cells: Sequence[Cell], *, gpu: bool | None = None) -> list[PlannedCell]:
    """
    Args:
        folder: of the sweep.
        gpu: whether cells compute on one; None is what torch finds here.

    Raises:
        InputError: data that a cell reads is not there.
    """
    keys = [stage_keys(cell.recipe, gpu=gpu) for cell in cells]
    times = Counter(key for found in keys for key in found.values())
    planned = []
    for cell, found in zip(cells, keys, strict=True):
        model = cell.recipe.student.model
        planned.append(
            PlannedCell(
                cell=cell,
                keys=found,
                shared=tuple(folder / "shared" / key for key in found.values() if times[key] > 1),
                cache=cache_folder(cell.recipe.student) if isinstance(model, SeededModel) and model.pretraining else None,
                account=folder / "accounts" / f"{cell.name}.json",
                order=folder / "orders" / f"{cell.name}.json",
                log=folder / "logs" / f"{cell.name}.log",
            )
        )
    return planned


def plan_lines(cells: Cells, planned: Sequence[PlannedCell]) -> Iterator[str]:
    """What would be run: each cell with its stages, and what cells have in common."""
    yield from cells.notes
    seen: set[str] = set()
    for one in planned:
        stages = []
        for name in stage_names(one.cell):
            shared = one.keys[name] in seen
            stages.append(f"({name})" if shared else name)
            seen.add(one.keys[name])
        state = one.ended().state
        marks = ["baseline"] if one.cell.variant == cells.baseline else []
        marks += [state] if state != "unfinished" else []
        shown = f" [{', '.join(marks)}]" if marks else ""
        yield f"{one.cell.name}: {' > '.join(stages)}, compared: {one.cell.outcome}{shown}"
    total = sum(len(one.keys) for one in planned)
    yield (
        f"{len(cells.variants)} variants, {len(planned)} cells, {total} stages with base, {len(seen)} of them different: "
        "each is made once, one in brackets is taken over"
    )
