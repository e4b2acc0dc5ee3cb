"""A sweep's folder as pandas frames, for notebooks: its table, its cells, their runs."""

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_distill.analysis.loaded_run import LoadedRun, load_run
from rl_distill.errors import InputError
from rl_distill.frames import frame, pandas_library
from rl_distill.sweeps.sweep_table import SCHEMA

if TYPE_CHECKING:
    import pandas


def load_sweep(path: str | Path) -> "LoadedSweep":
    """A sweep's folder, once its table is written: after its cells have ended, or the sweep was stopped.

    Raises:
        InputError: there is no table, it is of another version, or pandas is not installed.
    """
    folder = Path(path).expanduser()
    file = folder / "sweep.json"
    again = "give the sweep's command again"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise InputError("SWEEP", f"{str(path)!r} holds no table of a sweep", f"give one that has ended, or {again}") from None
    except ValueError as error:
        raise InputError("SWEEP", f"{str(file)!r} is damaged ({error})", again) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise InputError("SWEEP", f"{str(file)!r} is of version {schema!r}, and {SCHEMA!r} is read here", again)
    pandas_library()
    return LoadedSweep(folder, data)


class LoadedSweep:
    """What a sweep found, as its `sweep.json` has it. A Jupyter cell shows its table."""

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self.path, self._data = path, data

    @property
    def name(self) -> str:
        return str(self._data["name"])

    @property
    def baseline(self) -> str | None:
        """The variant that the others are compared with."""
        found: str | None = self._data["baseline"]
        return found

    @cached_property
    def table(self) -> "pandas.DataFrame":
        """A row for each variant: accuracy over seeds with its interval, paired difference, costs, remarks; NaN is not known."""
        return frame((_flat(row, "costs") for row in self._data["rows"]), "variant")

    @cached_property
    def cells(self) -> "pandas.DataFrame":
        """A row for each cell: its variant, seed, swept values, state and reason, accuracy, costs, alarms."""
        return frame((_flat(_flat(cell, "costs"), "values") for cell in self._data["cells"]), "name")

    def run(self, cell: str) -> LoadedRun:
        """The run of a cell.

        Raises:
            InputError: there is no such cell, or it has not begun.
        """
        if cell not in self.cells.index:
            from difflib import get_close_matches

            near = get_close_matches(cell, map(str, self.cells.index), n=3) or list(map(str, self.cells.index[:3]))
            raise InputError("cell", f"{cell!r} is none of {str(self.path)!r}", f"give {' or '.join(near)}")
        return load_run(self.path / str(self.cells.loc[cell, "run"]))

    def _repr_markdown_(self) -> str:
        return f"**{self.name}**\n\n" + (self.path / "table.md").read_text(encoding="utf-8")

    def __repr__(self) -> str:
        return f"load_sweep({str(self.path)!r})"


def _flat(row: dict[str, Any], key: str) -> dict[str, Any]:
    """A nested mapping's items as columns of their own, in its place."""
    nested = row[key] or {}
    return {name: value for own, given in row.items() for name, value in (nested.items() if own == key else [(own, given)])}
